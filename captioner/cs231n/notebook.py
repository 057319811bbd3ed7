"""Check the functions that a student wrote in a notebook, and write them to a file to hand them in."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from captioner import cs231n
from captioner.errors import UsageError
from captioner.files.atomic import write_file
from captioner.teaching.function_checks import Exercises, check_functions
from captioner.teaching.grading import grade_files, load_cases
from captioner.teaching.submissions import of_cells

_USUAL = Exercises(vars(cs231n))


def check(*functions: Callable[..., Any], cases: str | None = None) -> None:
    """Check functions by their names, as `captioner gradcheck` does, and print a line for each.

    `cases` is a Python file of exercises, as `--cases`.

    Raises: UsageError for a function that has none of the names, and as `load_cases`.
    """
    named = {str(getattr(function, "__name__", function)): function for function in functions}
    exercises = load_cases(Path(cases) if cases else None, _USUAL)
    for name in named:
        exercises.checked_name(name)
    for result in check_functions(named, exercises):
        print(result.line())  # noqa: T201 - below the cell of a notebook


def save(path: str, *functions: FunctionType, cases: str | None = None) -> None:
    """Write functions to a Python file, with what they use of the notebook, and check this file as a submission.

    Functions, classes, numbers and texts of the cells that were executed are written, and what they import is imported,
    as `captioner gradcheck` selects them from a notebook. The check fails if the file lacks a name.

    Raises: UsageError if the name does not end in .py, or without functions, and as `load_cases`; CaptionerError if it
        cannot be written.
    """
    if Path(path).suffix != ".py":
        raise UsageError(f"{path}: expected a name that ends in .py")
    if not functions:
        raise UsageError(f"{path}: expected functions to save, such as save({path!r}, rnn_step_forward)")
    module = sys.modules[functions[0].__module__]
    shell = vars(module).get("get_ipython")
    cells = shell().history_manager.input_hist_raw if shell else [inspect.getsource(module)]
    names = [name for name, value in vars(module).items() if any(value is function for function in functions)]
    write_file(Path(path), of_cells(Path(path), cells, names).text)
    (grade,) = grade_files([Path(path)], load_cases(Path(cases) if cases else None, _USUAL), {})
    for line in filter(None, (grade.problem, *(result.line() for result in grade.results.values()))):
        print(line)  # noqa: T201
