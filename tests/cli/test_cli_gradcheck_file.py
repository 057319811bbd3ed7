"""captioner gradcheck --file: the exercises of the course, planted bugs, and files that cannot be checked."""

import ast
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner import cs231n
from captioner.gradcheck.student_file import NAMES, SIGNATURES

COURSE = Path(__file__).parents[2] / "docs" / "course"
PLAIN = (COURSE / "plain.py").read_text()
EXERCISES = {path.stem: path for path in sorted(COURSE.glob("exercises/*.py"))}
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


def test_the_plain_functions_of_the_course_pass(cli: Callable[..., Any]) -> None:
    lines = cli("gradcheck", "--file", COURSE / "plain.py").succeeded().out.splitlines()
    assert [line.split()[:2] for line in lines[:-2]] == [
        [f"{name}_{way}", "PASS"] for name in [*SIGNATURES][4:] for way in ("forward", "backward")
    ]
    assert lines[-2] == "not in the file: 7 of 25 functions"
    assert lines[-1] == "PASS: 18 functions"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_fails_and_captioner_is_its_solution(name: str, cli: Callable[..., Any], checked: Check) -> None:
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
        problem = "not implemented" if needed == function else f"not checked: it needs {needed} in the same file"
        assert f" FAIL  {problem}" in line
    assert done.out.splitlines()[-1] == f"FAIL: {len(names)} of {len(names)} functions: {', '.join(names)}"

    solved = [f"def {name}(*args): return cs231n.{name}(*args)\n" for name in names]
    code, verdicts, last = checked("".join(["from captioner import cs231n\n", *solved]))
    assert (code, [*verdicts], last) == (0, names, f"PASS: {len(names)} functions")


def test_every_function_has_an_exercise() -> None:
    assert sorted(function.name for path in EXERCISES.values() for function in defined(path)) == sorted(NAMES)
    assert set(EXERCISES) <= {*SIGNATURES} <= {*EXERCISES, "temporal_affine", "dot_product_attention"}


def test_a_negated_forget_gate_is_named(checked: Check) -> None:
    of_steps = PLAIN[: PLAIN.index("def lstm_forward")]
    _, verdicts, _ = checked(of_steps.replace("da_f = dc * prev_c", "da_f = -dc * prev_c"))
    b = re.search(r" db \(12,\) \d\S+ \(([^)]+)\)$", verdicts["lstm_step_backward"])
    assert b, verdicts
    errors = dict(part.split() for part in b[1].split(", "))
    assert {gate for gate, error in errors.items() if float(error) > 1e-3} == {"f"}
    assert [*errors] == ["i", "f", "o", "g"]


ABOVE, PRECISELY = "(relative error above 1e-06)", "(relative error above 1e-09)"


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
        ("pass", "returns None: not implemented"),
        ("return x @ w + b", "expected it to return out, cache, got a value of type ndarray"),
        ("return x @ w + b, x, w", "expected it to return out, cache, got 3 values"),
        ("return (x @ w + b).T, (x, w)", r"out: expected the shape (4, 3), got (3, 4)"),
        ("return x @ w + b + np.nan, (x, w)", "out: expected finite numbers, got NaN or infinity"),
        ("x += 1; return x @ w + b, (x, w)", "modifies its argument x"),
        ("return unknown, 0", "raised NameError: name 'unknown' is not defined (line 3)"),
        ("return x @ w, (x, w)", f"differs from captioner's {PRECISELY}: out (4, 3) "),
        ("return affine_forward(x, w, b)", "raised RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_problems_of_a_forward_function(forward: str, problem: str, checked: Check) -> None:
    code, verdicts, _ = checked(AFFINE.format(forward=forward, backward=BACKWARD))
    assert code == 1
    assert verdicts["affine_forward"].startswith(f"FAIL  {problem}"), verdicts
    if not problem.startswith("differs"):
        assert verdicts["affine_backward"].startswith("FAIL  not checked: it needs affine_forward")


@pytest.mark.parametrize(
    ("backward", "problem"),
    [
        ("return dout, dout", "expected it to return dx, dw, db, got 2 values"),
        ("x, w = cache; return dout @ w.T, x.T @ dout, dout", "db: expected the shape (3,), got (4, 3)"),
    ],
)
def test_problems_of_a_backward_function(backward: str, problem: str, checked: Check) -> None:
    code, verdicts, last = checked(AFFINE.format(forward=FORWARD, backward=backward))
    assert (code, last) == (1, "FAIL: 1 of 2 functions: affine_backward")
    assert verdicts["affine_forward"].startswith("PASS")
    assert verdicts["affine_backward"].startswith(f"FAIL  {problem}"), verdicts


def test_gradients_of_a_dict(checked: Check) -> None:
    wrapped = "from captioner import cs231n\ndef multi_head_attention_forward(*a): return cs231n.{0}_forward(*a)\n"
    wrapped += "def multi_head_attention_backward(*a):\n    q, k, v, grads = cs231n.{0}_backward(*a)\n    {1}\n"
    for line, problem in {
        "return q, k, v, 0": "grads: expected a dict, got int",
        "return q, k, v, {'Wq': grads['Wq']}": "grads: expected the keys of params, bq, Wk, bk, Wv, bv, Wo, bo missing",
        "return q, k, v, grads | {'bk': grads['bk'] + 1e-6}": f"differs from numeric gradients {ABOVE}: dbk (6,) ",
    }.items():
        _, verdicts, _ = checked(wrapped.format("multi_head_attention", line))
        assert verdicts["multi_head_attention_backward"].startswith(f"FAIL  {problem}"), verdicts


def test_a_backward_function_alone(checked: Check) -> None:
    _, verdicts, _ = checked("from captioner.cs231n import *\ndef rnn_backward(dh, cache): pass")
    assert verdicts == {
        "rnn_backward": "FAIL  not checked: it needs rnn_forward in the same file, without errors",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def f(:\n", "student.py:1: raised SyntaxError: invalid syntax"),
        ("x = 1\nraise ValueError('a\\nb')\n", "student.py: raised ValueError: a\\nb (line 2)"),
        (
            "import missing_module\n",
            "student.py: raised ModuleNotFoundError: No module named 'missing_module' (line 1)",
        ),
        ("exit(3)\n", "student.py: raised SystemExit: 3 (line 1)"),
        ('{"cells": [], "nbformat": null}\n', "student.py: raised NameError: name 'null' is not defined (line 1)"),
        ("", "student.py: expected at least one of these functions, got none: affine_forward, "),
        ("from captioner.cs231n import *\n", "student.py: expected at least one of these functions, got none: "),
    ],
)
def test_files_that_cannot_be_checked(text: str, message: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "student.py").write_text(text)
    cli("gradcheck", "--file", tmp_path / "student.py").failed(1, message)


def test_missing_files_and_options_without_effect(cli: Callable[..., Any], tmp_path: Path) -> None:
    cli("gradcheck", "--file", tmp_path / "missing.py").failed(2, "missing.py: not found; expected a Python file")
    cli("gradcheck", "--file", tmp_path).failed(2, "expected a regular file, got a folder")
    for options in (["--full"], ["-o", "model.decoder=rnn"], ["-c", "scenes-rnn"]):
        cli("gradcheck", "--file", COURSE / "plain.py", *options).failed(2, "no effect with --file; leave them out")


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


@pytest.mark.parametrize("folder", [".", ".."])
def test_a_file_may_import_the_modules_beside_it(
    folder: str, checked: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "steps_of_a_student.py").write_text(PLAIN)
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.delitem(sys.modules, "steps_of_a_student", raising=False)
    settings = np.geterr()
    assert checked(BESIDE)[2] == "PASS: 2 functions"
    assert np.geterr() == settings
