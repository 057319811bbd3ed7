"""Check the functions that a student wrote in a notebook, and write them to a file to hand them in."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from captioner import cs231n
from captioner.gradcheck.function_checks import Exercises, check_functions
from captioner.gradcheck.grading import grade_files, load_cases


def check(*functions: Callable[..., Any], cases: str | None = None) -> None:
    """Check functions by their names, as `captioner gradcheck` does, and print a line for each.

    `cases` is a Python file of exercises, as `--cases`.

    Raises: UsageError for a function that has none of the names, and as `load_cases`.
    """
    named = {str(getattr(function, "__name__", function)): function for function in functions}
    exercises = _exercises(cases)
    for name in named:
        exercises.checked_name(name)
    for result in check_functions(named, exercises):
        print(result.line())  # noqa: T201 - below the cell of a notebook


def save(path: str, *functions: FunctionType, cases: str | None = None) -> None:
    """Write functions, with those of the notebook that they call and what they import, and check the file.

    A name that the file lacks, such as a constant, is a failure of this check, which is that of a submission.

    Raises: OSError; UsageError, as `load_cases`.
    """
    imports, found = {"import numpy as np"}, dict.fromkeys(functions)
    for function in (queue := [*functions]):
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if isinstance(value, ModuleType):
                imports.add(f"import {value.__name__} as {name}")
            elif isinstance(value, FunctionType) and value.__module__ == function.__module__:
                queue += [value] if value not in found else []
                found[value] = None
            elif module := getattr(value, "__module__", None):
                module = "captioner.cs231n" if module.startswith("captioner.") else module
                imports.add(f"from {module} import {name}")
    Path(path).write_text("\n\n".join(["\n".join(sorted(imports)) + "\n", *map(inspect.getsource, found)]))
    (grade,) = grade_files([Path(path)], _exercises(cases), {})
    for line in filter(None, (grade.problem, *(result.line() for result in grade.results.values()))):
        print(line)  # noqa: T201


def _names(code: CodeType) -> set[str]:
    """Return the global names and attributes in code, also in that of inner functions and comprehensions."""
    return {*code.co_names}.union(*(_names(const) for const in code.co_consts if isinstance(const, CodeType)))


def _exercises(cases: str | None) -> Exercises:
    usual = Exercises(vars(cs231n))
    return load_cases(Path(cases), usual) if cases else usual
