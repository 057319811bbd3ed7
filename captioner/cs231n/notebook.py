"""Check the functions that a student wrote in a notebook, and save them to hand them in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captioner import cs231n
from captioner.gradcheck.function_checks import Exercises, check_functions


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


def save(path: str, *functions: Callable[..., Any]) -> None:
    """Write functions, also those that they call, to a Python file that imports NumPy as np. Raises: OSError."""
    Path(path).write_text("\n\n".join(["import numpy as np\n", *map(inspect.getsource, functions)]))
