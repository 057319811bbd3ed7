"""Arguments of the Python API, with the types of options: a wrong one is a TypeError that names the argument."""

from __future__ import annotations

import errno
import numbers
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from captioner.config.option_table import NOUNS, Option
from captioner.errors import UsageError, quoted

TYPES: Mapping[type, Any] = {
    bool: (bool, np.bool_),
    int: numbers.Integral,
    float: numbers.Real,
    str: str,
    Path: (str, os.PathLike),
}
"""The Python types of the values of an option; a boolean is not a number."""


def argument(value: Any, kind: type, where: str, expected: str = "") -> Any:
    """Convert a value to bool, int, float, str or Path. Raises: TypeError, UsageError for an impossible path."""
    is_bytes = isinstance(value, os.PathLike) and isinstance(os.fspath(value), bytes)
    if not isinstance(value, TYPES[kind]) or (isinstance(value, bool) and kind is not bool) or is_bytes:
        raise TypeError(f"{where}: expected {expected or NOUNS[kind]}, got {described(value)}")
    if kind is Path:
        _check_path(os.fspath(value), where)
    return kind(value)


def optional(value: Any, kind: type, where: str) -> Any:
    """Convert a value as `argument`, or return None for None."""
    return None if value is None else argument(value, kind, where)


def _check_path(path: str, where: str) -> None:
    """Raises: UsageError for a path that no file can have."""
    if not path:
        raise UsageError(f"{where}: expected a path, got an empty text; the current folder is '.'")
    try:
        os.lstat(path)
    except ValueError as error:
        raise UsageError(f"{where}: expected a path, got {quoted(path)}: {error}") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"{where}: expected a path, got {quoted(path)}: {error.strerror}") from error


def option_value(option: Option, value: Any, where: str) -> Any:
    """Convert a value of an option. Raises: TypeError, UsageError for one out of bounds or not among the choices."""
    if value is None and option.nullable:
        return None
    converted = argument(value, option.kind, where, option.expected())
    if not option.admits(converted):
        raise UsageError(f"{where}: expected {option.expected()}, got {described(value)}")
    return converted


def path_list(value: Any, where: str, *others: type) -> list[Any]:
    """Convert a path, or several, to a list, which may have objects of `others` too. Raises: TypeError."""
    if isinstance(value, (str, os.PathLike, *others)):
        value = [value]
    if not _is_list(value):
        raise TypeError(f"{where}: expected a path or a list of paths, got {described(value)}")
    return [
        item if isinstance(item, others) else argument(item, Path, f"{where}[{place}]")
        for place, item in enumerate(value)
    ]


def run_list(value: Any, where: str, *others: type) -> list[Any]:
    """Convert a run, or several, to a list, as `path_list`. Raises: TypeError, UsageError for an empty list."""
    runs = path_list(value, where, *others)
    if not runs:
        raise UsageError(f"{where}: expected at least one run, got an empty list")
    return runs


def override_list(value: Any, where: str) -> list[str]:
    """Convert overrides to a list. Raises: TypeError, also for a single text, which is a sequence of letters."""
    texts: list[Any] = list(value) if _is_list(value) else [None]
    if all(isinstance(text, str) for text in texts):
        return texts
    expected = 'expected a list of texts such as ["decode.beam_width=5"]'
    raise TypeError(f"{where}: overrides: {expected}, got {described(value)}")


def described(value: Any) -> str:
    """Describe a value by its content and type, or an array by its type and shape."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array {value.dtype} {tuple(value.shape)}"
    return f"{quoted(value)} ({type(value).__name__})"


def _is_list(value: Any) -> bool:
    """Return whether a value is a collection with an order, other than of letters, bytes, numbers or lines."""
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    is_other = isinstance(value, str | bytes | bytearray | Mapping | set | frozenset) or hasattr(value, "read")
    return isinstance(value, Iterable) and not is_other and kind in "OU"
