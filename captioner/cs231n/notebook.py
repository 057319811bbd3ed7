"""Check the functions that a student wrote in a notebook, and write them to a file to hand them in."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from captioner import cs231n
from captioner.errors import UsageError
from captioner.files.atomic import write_file
from captioner.teaching.function_checks import Exercises, check_functions
from captioner.teaching.grading import Grade, grade_files, grade_submission, load_cases
from captioner.teaching.submissions import of_cells

_USUAL = Exercises(vars(cs231n))


def check(*functions: Callable[..., Any], cases: str | None = None) -> None:
    """Check functions by their names, as `captioner gradcheck` does, and print a line for each.

    In a notebook, the functions are checked as those of the file that `save` would write. `cases` is a Python file of
    exercises, as `--cases`.

    Raises: UsageError for a function that has none of the names, and as `load_cases`.
    """
    if not functions:
        raise UsageError("expected functions to check, such as check(rnn_step_forward)")
    named = {str(getattr(function, "__name__", function)): function for function in functions}
    exercises = load_cases(Path(cases) if cases else None, _USUAL)
    for name in named:
        exercises.checked_name(name)
    cells = _executed_cells(functions)
    if cells is None:
        for result in check_functions(named, exercises):
            print(result.line())  # noqa: T201 - below the cell of a notebook
    else:
        points = {name: 1.0 for name in exercises.names if name in named}
        _print(grade_submission(of_cells(Path("notebook"), cells, [*named]), exercises, points))


def _executed_cells(functions: Sequence[Any]) -> list[str] | None:
    """Return the cells of the notebook that defines functions, by their numbers from 1; None if it is no notebook."""
    module = sys.modules.get(getattr(functions[0], "__module__", ""))
    shell = getattr(module, "get_ipython", None)
    return shell().history_manager.input_hist_raw[1:] if shell else None


def _print(grade: Grade) -> None:
    for line in (*grade.printed.splitlines(), grade.problem, *(result.line() for result in grade.results.values())):
        if line:
            print(line)  # noqa: T201


def save(path: str, *functions: FunctionType, cases: str | None = None) -> None:
    """Write functions to a Python file, with what they use of the notebook, and check this file as a submission.

    Of the cells that were executed, the statements are written that define the names which the functions read, as
    `captioner gradcheck` selects them from a notebook. The check fails if the file lacks a name.

    Raises: UsageError if the name does not end in .py, or without functions, and as `load_cases`; CaptionerError if it
        cannot be written.
    """
    if Path(path).suffix != ".py":
        raise UsageError(f"{path}: expected a name that ends in .py")
    if not functions:
        raise UsageError(f"{path}: expected functions to save, such as save({path!r}, rnn_step_forward)")
    exercises, module = load_cases(Path(cases) if cases else None, _USUAL), sys.modules[functions[0].__module__]
    cells = _executed_cells(functions) or [inspect.getsource(module)]
    names = [name for name, value in vars(module).items() if any(value is function for function in functions)]
    write_file(Path(path), of_cells(Path(path), cells, names).text)
    (grade,) = grade_files([Path(path)], exercises, {})
    _print(grade)
