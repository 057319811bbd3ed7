"""Notebooks are graded as the file that `save` writes from them, and bad ones are refused with one line."""

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner import cs231n
from captioner.errors import UsageError
from captioner.teaching.function_checks import Exercises
from captioner.teaching.grading import Grade, grade_files, read_points

USUAL = Exercises(vars(cs231n))
IMPORTS = """from __future__ import annotations
import math, numpy as np, no_module
from no_module import plot
from no_module import *
from dataclasses import dataclass
ONE, TEXT = 1.0, "x"; TWO = ONE + 1"""
FORWARD = "def affine_forward(x, w, b):\n    return x.reshape(len(x), -1) @ w + b, Cache(x, w)"
BACKWARD = """def rows(x): return x.reshape(len(x), -1)

@dataclass
class Cache:
    x: np.ndarray
    w: Unknown

def affine_backward(dout, cache):
    total = lambda a: ONE * a.sum(axis=0)
    return (dout @ cache.w.T).reshape(cache.x.shape), rows(cache.x).T @ dout, total(dout)"""
WRONG = BACKWARD.replace("ONE * a", "TWO * a")
OBJECTS = [
    "from collections import namedtuple\nFactors = namedtuple('Factors', 'one')",
    "if True: FACTORS = Factors(np.ones(1))",
    "OPTIONS = {'one': 2}",
    "OPTIONS['one'] -= 1",
]
STEP = "from captioner.cs231n import rnn_step_forward\nstep = lambda *a: rnn_step_forward(*a)"
LOOP = """def rnn_forward(x, h0, Wx, Wh, b):
    hs = []
    for t in range(x.shape[1]): h0, _ = step(x[:, t], h0, Wx, Wh, b); hs.append(h0)
    return np.stack(hs, 1), None"""
# the cells of code, and the functions that pass
NOTEBOOKS: dict[str, tuple[list[str], list[str]]] = {
    "all is right": ([IMPORTS, FORWARD, BACKWARD], ["affine_forward", "affine_backward"]),
    "the later definition is wrong": ([IMPORTS, FORWARD, BACKWARD, WRONG], ["affine_forward"]),
    "the later definition is right": ([IMPORTS, FORWARD, WRONG, BACKWARD], ["affine_forward", "affine_backward"]),
    "a cell is indented": ([IMPORTS, FORWARD, textwrap.indent(BACKWARD, "  ")], ["affine_forward", "affine_backward"]),
    "the later number is wrong": ([IMPORTS, FORWARD, BACKWARD, "ONE += 1"], ["affine_forward"]),
    "what functions read is executed": (
        [
            IMPORTS,
            FORWARD.replace("w + b", "w + FACTORS.one * b"),
            BACKWARD.replace("ONE * a", 'OPTIONS["one"] * a'),
            *OBJECTS,
        ],
        ["affine_forward", "affine_backward"],
    ),
    "a loop changes a number": ([IMPORTS, FORWARD, BACKWARD, "for _ in range(2): ONE += 1"], ["affine_forward"]),
    "local names are not read": (
        [IMPORTS, FORWARD, BACKWARD, "x = w = b = dout = 1 / 0"],
        ["affine_forward", "affine_backward"],
    ),
    "a cache is captioner's": (
        [IMPORTS, STEP.replace("rnn_step_forward(*a)", "(rnn_step_forward(*a)[0], rnn_step_forward(*a)[1][0])"), LOOP],
        ["rnn_forward"],
    ),
    "an argument changes": ([IMPORTS, FORWARD.replace("return", "b += 1; return"), BACKWARD], []),
    "a step is captioner's": ([IMPORTS, STEP, LOOP], ["rnn_forward"]),
}
OTHER_CELLS = [
    "%matplotlib inline\n!pip install x\nfiles = !ls\nprint(undefined)",
    "%%time\nhelper = 1 / 0",
    "%%bash\nexit 1",
    "affine_forward?",
    "def affine_forward(:",
    "import os; os._exit(1)",
    "\ud800",
    "big = 10**10**9\nwhile True: pass",
]


def notebook(path: Path, cells: list[str], **changes: Any) -> Path:
    """Write a notebook with cells of code, with outputs."""
    outputs = [{"output_type": "stream", "text": "def affine_forward(): pass"}]
    code = [{"cell_type": "code", "source": cell.splitlines(keepends=True), "outputs": outputs} for cell in cells]
    markdown = {"cell_type": "markdown", "source": "def affine_backward(*args): pass"}
    path.write_text(json.dumps({"nbformat": 4, "cells": [*code, markdown], **changes}))
    return path


def graded(path: Path, require: str = "affine") -> Grade:
    """Grade one file."""
    (grade,) = grade_files([path], USUAL, read_points(require, USUAL))
    return grade


KERNEL = """import contextlib, json, sys
from IPython.core.interactiveshell import InteractiveShell
from captioner.cs231n.notebook import check, save
shell = InteractiveShell()
shell.history_manager.enabled = False
for name, cells in json.load(sys.stdin).items():
    shell.reset(new_session=True)
    for cell in cells:
        shell.run_cell(cell, store_history=True)
    names = [n for n, value in shell.user_ns.items() if n.endswith("ward") and value.__module__ == "__main__"]
    functions = [shell.user_ns[n] for n in names]
    for function, file in ((lambda: check(*functions), "check"), (lambda: save(f"{name}.py", *functions), "save")):
        with open(f"{name} {file}", "w") as stream, contextlib.redirect_stdout(stream):
            function()
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that `save` writes from the notebooks, in IPython."""
    folder = tmp_path_factory.mktemp("saved")
    cells = {name: ["%%time\ndef f(): pass", *cells] for name, (cells, _) in NOTEBOOKS.items()}
    (folder / "no_module.py").write_text("plot = 0")
    subprocess.run([sys.executable, "-c", KERNEL], input=json.dumps(cells), text=True, check=True, cwd=folder)
    (folder / "no_module.py").unlink()
    return folder


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_has_the_grade_of_the_file_that_save_writes(name: str, saved: Path, tmp_path: Path) -> None:
    cells, passed = NOTEBOOKS[name]
    grade = graded(notebook(tmp_path / "cell.ipynb", [*OTHER_CELLS, *cells, *OTHER_CELLS]), "affine,rnn_forward")
    assert [own for own in grade.points if not grade.results[own].problem] == passed, grade
    places = r" \((code cell \d+, )?line \d+\)|; code cell .*"
    assert (saved / f"{name}.py").read_text().count("import numpy as np\n") == 1
    checked, at_saving = (re.sub(places, "", (saved / f"{name} {file}").read_text()) for file in ("check", "save"))
    assert {*checked.replace("notebook:", f"{name}.py:").splitlines()} <= {*at_saving.splitlines()}
    lines = [re.sub(places, "", result.line()) for result in grade.results.values()]
    assert {*passed} <= {line.split()[0] for line in checked.splitlines() if line in lines}
    assert without(places, graded(saved / f"{name}.py", "affine,rnn_forward")) == without(places, grade)


def without(pattern: str, grade: Grade) -> dict[str, str]:
    """Return the problems of the functions without a pattern."""
    return {name: re.sub(pattern, "", result.problem) for name, result in grade.results.items()}


def test_a_reason_names_the_cell_and_the_line(tmp_path: Path) -> None:
    broken = BACKWARD.replace("total(dout)", "missing")
    grade = graded(notebook(tmp_path / "cell.ipynb", ["x = 1", IMPORTS, FORWARD, broken]))
    assert grade.results["affine_backward"].problem == (
        "raised NameError: name 'missing' is not defined (code cell 4, line 10)"
    )
    cells = [IMPORTS, FORWARD, BACKWARD.replace("backward(dout,", "bakward(dout,"), "x =\n", "y ="]
    assert graded(notebook(tmp_path / "cell.ipynb", cells)).results["affine_backward"].problem == (
        "missing: the file does not define it; is it affine_bakward?; code cell 4, line 1 is not Python: invalid syntax"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("def f(): pass", "expected a notebook, a JSON file: Expecting value: line 1 column 1 (char 0); open it in"),
        ("[" * 10**5, "expected a notebook, a JSON file: maximum recursion depth exceeded"),
        ("[]", "expected a notebook with cells, of nbformat 4; open it in Jupyter and save it, or hand in the file"),
        ('{"nbformat": 3, "worksheets": []}', "expected a notebook with cells, of nbformat 4"),
        ('{"nbformat": 4, "cells": [1]}', "expected a notebook with cells, of nbformat 4"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code", "source": [1]}]}', "code cell 1: expected a source of text"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "code cell 1: expected a source of text"),
        (
            json.dumps({"nbformat": 4, "cells": [{"cell_type": "code", "source": "x" * (1 << 18)}] * 2}),
            "expected at most 262,144 characters in its code cells; delete other cells",
        ),
        ('{"nbformat": 4, "cells": []}', "expected at least one of these functions, got none: affine_forward, "),
    ],
)
def test_a_file_that_is_no_notebook(content: str, problem: str, cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "cell.ipynb").write_text(content)
    done = cli("gradcheck", tmp_path / "cell.ipynb")
    assert done.code == (1 if "at least" in problem else 2)
    assert done.err.startswith(f"captioner: {tmp_path}/cell.ipynb: {problem}"), done.err
    assert len(done.err.splitlines()) == 1


def test_a_notebook_beside_other_files(cli: Callable[..., Any], tmp_path: Path) -> None:
    """Its outputs may be large, and others cannot read it."""
    path = notebook(tmp_path / "large.ipynb", [IMPORTS, FORWARD, BACKWARD])
    path.write_text(path.read_text().replace('"def affine_forward(): pass"', f'"{"x" * 17_000_000}"'))
    (tmp_path / "copy.py").write_text(f"open('{path}').read()")
    notebook(tmp_path / "no.ipynb", [], nbformat=3)
    done = cli("gradcheck", "--require", "affine", path, *(tmp_path / name for name in ("copy.py", "no.ipynb")))
    large_row, copied, refused, last = done.out.splitlines()
    assert large_row.split()[1:] == ["2/2", "PASS"]
    assert "a submission cannot use" in copied
    assert "of nbformat 4" in refused
    assert last == "FAIL: 1 of 3 files pass"


def test_a_notebook_with_the_name_of_a_python_file(tmp_path: Path) -> None:
    assert not graded(notebook(tmp_path / "cell.py", [IMPORTS, FORWARD, BACKWARD])).failed()
    with pytest.raises(UsageError, match="of nbformat 4"):
        graded(notebook(tmp_path / "cell.py", [], nbformat=3, metadata={}))
