"""Check the functions that a student wrote in a notebook, and write them to a file to hand them in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

from captioner import cs231n
from captioner.gradcheck.function_checks import Exercises, check_functions
from captioner.gradcheck.grading import grade_files


def check(*functions: Callable[..., Any]) -> None:
    """Check functions by their names, as `captioner gradcheck` does, and print a line for each.

    Raises: UsageError for a function that has none of the names.
    """
    named = {str(getattr(function, "__name__", function)): function for function in functions}
    exercises = Exercises(vars(cs231n))
    for name in named:
        exercises.checked_name(name)
    for result in check_functions(named, exercises):
        print(result.line())  # noqa: T201 - below the cell of a notebook


def save(path: str, *functions: FunctionType) -> None:
    """Write functions, and those of the notebook that they call, to a Python file, and check it as a submission.

    The file imports NumPy as np. A name that it lacks, such as a constant, is a failure of the check.

    Raises: OSError.
    """
    found = dict.fromkeys(functions)
    for function in (queue := [*functions]):
        called = (function.__globals__.get(name) for name in function.__code__.co_names)
        own = [f for f in called if isinstance(f, FunctionType) and f.__module__ == function.__module__]
        queue += [f for f in own if f not in found]
        found |= dict.fromkeys(own)
    Path(path).write_text("\n\n".join(["import numpy as np\n", *map(inspect.getsource, found)]))
    (grade,) = grade_files([Path(path)], Exercises(vars(cs231n)), {})
    for line in filter(None, (grade.problem, *(result.line() for result in grade.results.values()))):
        print(line)  # noqa: T201
