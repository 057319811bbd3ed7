"""Check the functions that a student wrote in a notebook, and write them to a file to hand them in."""

from __future__ import annotations

import ast
import inspect
import math
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import numpy as np

from captioner import cs231n
from captioner.errors import UsageError
from captioner.files.atomic import write_file
from captioner.teaching.function_checks import Exercises, check_functions
from captioner.teaching.grading import grade_files, load_cases

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

    Functions, classes, numbers and texts of the notebook are written, and what it imports is imported. The check fails
    if the file lacks a name.

    Raises: UsageError if the name does not end in .py, and as `load_cases`; CaptionerError if it cannot be written.
    """
    if Path(path).suffix != ".py":
        raise UsageError(f"{path}: expected a name that ends in .py")
    lines, found = {"import numpy as np"}, dict[Any, str]()
    queue: list[Any] = [*functions]
    for function in queue:
        found[function] = textwrap.dedent(inspect.getsource(function))
        for name in {node.id for node in ast.walk(ast.parse(found[function])) if isinstance(node, ast.Name)}:
            value = sys.modules[function.__module__].__dict__.get(name)
            module = "numpy" if isinstance(value, np.ufunc) else getattr(value, "__module__", None)
            if isinstance(value, ModuleType):
                lines.add(f"import {value.__name__} as {name}")
            elif isinstance(value, int | float | str):
                is_finite = not isinstance(value, float) or math.isfinite(value)
                lines.add(f"{name} = {value!r}" if is_finite else f'{name} = float("{value}")')
            elif isinstance(value, FunctionType | type) and module == function.__module__:
                queue += [value] if value not in queue else []
            elif isinstance(value, FunctionType | type | BuiltinFunctionType | np.ufunc):
                public = "captioner.cs231n" if getattr(cs231n, value.__name__, None) is value else module
                lines.add(f"from {public} import {value.__name__} as {name}")
    imports_first = sorted(lines, key=lambda line: (" = " in line, line))
    write_file(Path(path), "\n\n".join(["\n".join(imports_first) + "\n", *reversed(found.values())]).encode())
    (grade,) = grade_files([Path(path)], load_cases(Path(cases) if cases else None, _USUAL), {})
    for line in filter(None, (grade.problem, *(result.line() for result in grade.results.values()))):
        print(line)  # noqa: T201
