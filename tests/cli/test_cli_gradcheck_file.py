"""captioner gradcheck --file: the exercises of the course, planted bugs, and files that cannot be checked."""

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner import cs231n
from captioner.teaching.function_checks import SIGNATURES, Exercises, check_functions

USUAL = Exercises(vars(cs231n))
COURSE = Path(__file__).parents[2] / "docs" / "course"
PLAIN = (COURSE / "plain.py").read_text()
EXERCISES = {path.stem: path for path in sorted(COURSE.glob("exercises/*.py"))}
CASES = "from captioner.teaching.function_checks import SIGNATURES"
Check = Callable[[str], tuple[int, dict[str, str], str]]


@pytest.fixture
def checked(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Check a file with this text: the exit code, the verdict of each function, and the last line."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def check(text: str) -> tuple[int, dict[str, str], str]:
        (tmp_path / "student.py").write_text(text)
        done = cli("gradcheck", "--file", tmp_path / "student.py")
        assert done.err == ""
        rows = re.findall(r"^(\w+) +((?:PASS|FAIL)  .*)$", done.out, re.MULTILINE)
        return done.code, dict(rows), done.out.splitlines()[-1]

    return check


def defined(path: Path) -> list[ast.FunctionDef]:
    return [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]


@pytest.mark.slow
def test_the_plain_functions_of_the_course_pass(cli: Callable[..., Any]) -> None:
    lines = cli("gradcheck", "--file", COURSE / "plain.py").succeeded().out.splitlines()
    assert [line.split()[:2] for line in lines[:-1]] == [[name, "PASS"] for name in USUAL.names]
    assert lines[-1] == f"PASS: {len(USUAL.names)} functions"


SMALL = ("affine", "rnn_step")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SMALL else pytest.mark.slow) for name in EXERCISES]
)
def test_a_stub_fails_and_captioner_is_its_solution(name: str, cli: Callable[..., Any]) -> None:
    functions = defined(EXERCISES[name])
    assert (
        "student.py, write the functions, and check them: captioner gradcheck --file student.py"
        in EXERCISES[name].read_text()
    )
    for function in functions:
        assert ast.get_docstring(function)
        assert [a.arg for a in function.args.args] == [*inspect.signature(getattr(cs231n, function.name)).parameters]
    names = [function.name for function in functions]
    done = cli("gradcheck", "--file", EXERCISES[name])
    assert (done.code, done.err) == (1, "")
    rows = [line for line in done.out.splitlines() if line.split()[0] in names]
    assert [line.split()[0] for line in rows] == names
    for line, function in zip(rows, names, strict=True):
        needed = function.replace("_backward", "_forward")
        problem = "not implemented" if needed == function else f"not checked: it needs a correct {needed}"
        assert problem in line.partition(" FAIL  ")[2]
    assert done.out.splitlines()[-1] == f"FAIL: {len(names)} of {len(names)} functions: {', '.join(names)}"

    solved = check_functions({name: getattr(cs231n, name) for name in names}, USUAL)
    assert [(result.name, result.problem) for result in solved] == [(name, "") for name in names]


@pytest.mark.slow
def test_exercises_can_be_joined_without_their_imports(cli: Callable[..., Any], tmp_path: Path) -> None:
    lines = [line for path in EXERCISES.values() for line in path.read_text().splitlines(keepends=True)]
    (tmp_path / "cell.py").write_text("".join(line for line in lines if not line.startswith("from captioner")))
    done = cli("gradcheck", tmp_path / "cell.py")
    assert done.out.count("not implemented") == len(EXERCISES) + 2


def test_every_function_has_an_exercise() -> None:
    assert sorted(function.name for path in EXERCISES.values() for function in defined(path)) == sorted(USUAL.names)
    assert set(EXERCISES) <= {*SIGNATURES} <= {*EXERCISES, "temporal_affine", "dot_product_attention"}


@pytest.mark.slow
def test_a_negated_forget_gate_is_named(checked: Check) -> None:
    of_steps = PLAIN[: PLAIN.index("def lstm_forward")]
    _, verdicts, _ = checked(of_steps.replace("da_f = dc * prev_c", "da_f = -dc * prev_c"))
    b = re.search(r" db \(12,\) \d\S+ \(([^)]+)\)$", verdicts["lstm_step_backward"])
    assert b, verdicts
    errors = dict(part.split() for part in b[1].split(", "))
    assert {gate for gate, error in errors.items() if float(error) > 1e-3} == {"f"}
    assert [*errors] == ["i", "f", "o", "g"]


ABOVE, PRECISELY = "(relative error above 1e-06)", "(relative error above 1e-09)"


def problems(text: str) -> dict[str, str]:
    """Check the functions of a text in this process: the problem of each, or ""."""
    module: dict[str, Any] = {}
    exec(text, module)
    functions = {name: module[name] for name in USUAL.names if name in module}
    return {result.name: result.problem for result in check_functions(functions, USUAL)}


AFFINE = """import numpy as np
def affine_forward(x, w, b):
    {forward}
def affine_backward(dout, cache):
    {backward}
"""
FORWARD = "return x.reshape(len(x), -1) @ w + b, (x, w)"
BACKWARD = "x, w = cache; return dout @ w.T, x.T @ dout, dout.sum(axis=0)"


@pytest.mark.parametrize(
    ("forward", "problem"),
    [
        ("pass", "returns None: is return missing?"),
        ("return x @ w + b", "expected it to return out, cache, got a value of type ndarray"),
        ("return x @ w + b, x, w", "expected it to return out, cache, got 3 values"),
        ("return (x @ w + b).T, (x, w)", "has the shape of its transpose; out: expected the shape (4, 3), got (3, 4)"),
        ("return x @ w + b + np.nan, (x, w)", "out: expected finite numbers, got NaN or infinity"),
        ("x += 1; return x @ w + b, (x, w)", "modifies its argument x"),
        ("return unknown, 0", "raised NameError: name 'unknown' is not defined (line 3)"),
        (
            "return x @ w, (x, w)",
            f"b seems to be ignored; differs from the reference {PRECISELY}: out (4, 3) ",
        ),
        ("return affine_forward(x, w, b)", "raised RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_problems_of_a_forward_function(forward: str, problem: str) -> None:
    found = problems(AFFINE.format(forward=forward, backward=BACKWARD))
    assert found["affine_forward"].startswith(problem), found
    if "differs" not in problem:
        assert found["affine_backward"].startswith("not checked: it needs a correct affine_forward")


@pytest.mark.parametrize(
    ("backward", "problem"),
    [
        ("return dout, dout", "expected it to return dx, dw, db, got 2 values"),
        (
            "x, w = cache; return dout @ w.T, x.T @ dout, dout",
            "sum over all axes but the last, without keepdims; db: expected the shape (3,), got (4, 3)",
        ),
    ],
)
def test_problems_of_a_backward_function(backward: str, problem: str) -> None:
    found = problems(AFFINE.format(forward=FORWARD, backward=backward))
    assert not found["affine_forward"]
    assert found["affine_backward"].startswith(problem), found


@pytest.mark.slow
def test_gradients_of_a_dict() -> None:
    wrapped = "from captioner import cs231n\ndef multi_head_attention_forward(*a): return cs231n.{0}_forward(*a)\n"
    wrapped += "def multi_head_attention_backward(*a):\n    q, k, v, grads = cs231n.{0}_backward(*a)\n    {1}\n"
    for line, problem in {
        "return q, k, v, 0": "grads: expected a dict, got int",
        "return q, k, v, {'Wq': grads['Wq']}": "grads: expected the keys of params, bq, Wk, bk, Wv, bv, Wo, bo missing",
        "return q, k, v, grads | {'bk': grads['bk'] + 1e-6}": "the error is small: is a part in float32",
    }.items():
        found = problems(wrapped.format("multi_head_attention", line))
        assert found["multi_head_attention_backward"].startswith(problem), found


def test_a_backward_function_alone(checked: Check) -> None:
    _, verdicts, _ = checked("from captioner.cs231n import *\ndef rnn_backward(dh, cache): pass")
    assert verdicts == {
        "rnn_forward": "FAIL  missing: the file does not define it",
        "rnn_backward": "FAIL  not checked: it needs a correct rnn_forward",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(): pass".encode("utf-16"), "student.py: expected text, got NUL bytes, such as those of UTF-16"),
        (b' {\n "cells": []}', "student.py: expected a notebook with cells, of nbformat 4; open it"),
        ("def f(:\n", "student.py: raised SyntaxError: invalid syntax (student.py, line 1)"),
        ("x = 1\nraise ValueError('a\\nb')\n", "student.py: raised ValueError: a\\nb (line 2)"),
        (
            "import missing_module\nx = missing_module\n",
            "student.py: raised ModuleNotFoundError: No module named 'missing_module' (line 1)",
        ),
        ("exit(3)\n", "student.py: raised SystemExit: 3 (line 1)"),
        ("import os; os._exit(0)", "student.py: ends the process (exit code 0)"),
        ("", "student.py: expected at least one of these functions, got none: affine_forward, "),
        ("from captioner.cs231n import *\n", "student.py: expected at least one of these functions, got none: "),
    ],
)
def test_files_that_cannot_be_checked(text: str | bytes, message: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    is_text = isinstance(text, str)
    (tmp_path / "student.py").write_bytes(text.encode() if is_text else text)
    cli("gradcheck", "--file", tmp_path / "student.py").failed(1 if is_text else 2, message)


def test_missing_files_and_options_without_effect(cli: Callable[..., Any], tmp_path: Path) -> None:
    cli("gradcheck", "--file", tmp_path / "missing.py").failed(
        2, "missing.py: not found; expected a Python file or notebook"
    )
    cli("gradcheck", "--file", tmp_path).failed(2, "expected a regular file, got a folder")
    (tmp_path / "link.py").symlink_to(COURSE / "plain.py")
    cli("gradcheck", tmp_path / "link.py").failed(2, "link.py: expected a file, got a link; copy what it links to")
    cli("gradcheck", COURSE / "plain.py", "--timeout", "nan").failed(2, "expected a number of seconds, got nan")
    cli("gradcheck", COURSE / "plain.py", "--memory", "99").failed(2, "'--memory': 99 is not in the range 160<=x<=")
    for option in ("--timeout", "--memory", "--jobs"):
        cli("gradcheck", option, "200").failed(2, "need a FILE with functions to check")
    output = ["--json", COURSE / "plain.py"]
    cli("gradcheck", COURSE / "plain.py", *output).failed(2, "expected a name that ends in .json or .jsonl, got ")
    several = [COURSE / "plain.py", tmp_path / "link.py", "--json", "results.json"]
    cli("gradcheck", *several).failed(2, "expected a name that ends in .jsonl, got results.json")
    for options in (["--full"], ["-o", "model.decoder=rnn"], ["-c", "scenes-rnn"]):
        cli("gradcheck", "--file", COURSE / "plain.py", *options).failed(2, "no effect with FILE; leave them out")


BESIDE = """from __future__ import annotations
from dataclasses import dataclass
import numpy as np
from steps_of_a_student import rnn_forward
def rnn_backward(*args):
    import steps_of_a_student
    return steps_of_a_student.rnn_backward(*args)
@dataclass
class Cache: x: np.ndarray
np.seterr(all="raise")
"""


@pytest.mark.slow
@pytest.mark.parametrize("folder", [".", ".."])
def test_a_file_may_import_the_modules_beside_it(
    folder: str, checked: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "steps_of_a_student.py").write_text(PLAIN)
    monkeypatch.chdir(tmp_path / folder)
    assert checked(BESIDE)[2] == "PASS: 2 functions"
    assert not (tmp_path / "__pycache__").exists()


SUBMISSIONS = {
    "right": PLAIN,
    "half": PLAIN.replace("da_f = dc * prev_c", "da_f = -dc * prev_c"),
    "stub": EXERCISES["rnn_step"].read_text() + "print('stub \\x1b' + 'x' * 3000)",
    "exiting": "import os; os._exit(0)",
    "broken": "def f(:",
}


def test_several_files_are_graded(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in SUBMISSIONS.items():
        (tmp_path / f"{name}.py").write_text(text)
    files = [f"{name}.py" for name in SUBMISSIONS]
    options = ["--require", "rnn_step,lstm_step_backward=3", "--json", "grades.jsonl"]
    done = cli("gradcheck", *options, "--jobs", "2", "--memory", "512", *files, "missing.py")
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        "right.py   5/5       PASS",
        "half.py    2/5       FAIL  lstm_step_backward",
        "stub.py    0/5       FAIL  rnn_step_forward, rnn_step_backward, lstm_step_backward",
        "exiting.py 0/5       FAIL  ends the process (exit code 0)",
        "broken.py  0/5       FAIL  raised SyntaxError: invalid syntax (broken.py, line 1)",
        f"missing.py 0/5       FAIL  not found; expected a Python file or notebook; relative names start at {tmp_path}",
        "FAIL: 1 of 6 files pass",
    ]
    right, half, stub, *others = map(json.loads, (tmp_path / "grades.jsonl").read_text().splitlines())
    assert [grade["score"] for grade in (right, half, stub, *others)] == [5, 2, 0, 0, 0, 0]
    assert right["extra_data"] == {"file": "right.py", "max_score": 5}
    test = half["tests"][2]
    assert test["output"].startswith("lstm_step_backward             FAIL  ")
    assert {**test, "output": ""} == {
        "name": "lstm_step_backward", "score": 0, "max_score": 3, "status": "failed", "output": "",
    }  # fmt: skip
    assert stub["output"] == "x" * 1999 + "\n"
    assert [test["status"] for test in right["tests"]] == ["passed"] * 3
    assert cli("gradcheck", *options, "right.py").out.splitlines()[-2:] == ["PASS: 3 functions", "5 of 5 points"]
    assert json.loads((tmp_path / "grades.jsonl").read_text()) == right


@pytest.mark.slow
def test_an_interrupt_loses_no_grade(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(EXERCISES["rnn_step"].read_text())
    (tmp_path / "b.py").write_text("while True: pass")
    command = [sys.executable, "-m", "captioner", "gradcheck", "--timeout", "99", "--json", "o.jsonl", "a.py", "b.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().split()[:2] == ["a.py", "0/2"]
        process.terminate()
    (line,) = (tmp_path / "o.jsonl").read_text().splitlines()
    assert json.loads(line)["extra_data"]["file"] == "a.py"


def test_what_a_file_prints_is_escaped(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "student.py").write_text("print('a\\x1b[31m')\n" + SUBMISSIONS["stub"])
    done = cli("gradcheck", tmp_path / "student.py")
    assert done.code == 1
    assert "\x1b" not in done.err
    assert done.err.endswith("x" * 1999 + "\n")
