"""Types of arguments of the Python API: a wrong one is a TypeError that names the argument."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from typing import Any

from captioner.errors import UsageError
from captioner.printable import quoted

PathLike = str | os.PathLike[str]


def one_path(value: Any, where: str) -> PathLike:
    """Check a path. Raises: TypeError."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{where}: expected a path, got {described(value)}")
    return value


def several_paths(value: Any, where: str, *others: type) -> list[Any]:
    """Convert a path, or paths, to a list, which may have objects of `others` too. Raises: TypeError."""
    if isinstance(value, (str, os.PathLike, *others)):
        return [value]
    if not _is_list(value):
        raise TypeError(f"{where}: expected a path or a list of paths, got {described(value)}")
    return [one if isinstance(one, others) else one_path(one, f"{where}[{place}]") for place, one in enumerate(value)]


def run_list(value: Any, where: str, *others: type) -> list[Any]:
    """Convert a run, or several, to a list, as `several_paths`. Raises: TypeError, UsageError for an empty list."""
    runs = several_paths(value, where, *others)
    if not runs:
        raise UsageError(f"{where}: expected at least one run, got an empty list")
    return runs


def override_list(value: Any, where: str) -> list[str]:
    """Convert overrides to a list. Raises: TypeError, also for a single text, which is a sequence of letters."""
    texts: list[Any] = list(value) if _is_list(value) else [None]
    if all(isinstance(one, str) for one in texts):
        return texts
    expected = 'expected a list of texts such as ["decode.beam_width=5"]'
    raise TypeError(f"{where}: overrides: {expected}, got {described(value)}")


def whole_number(value: Any, where: str) -> int:
    """Convert an integer of any type. Raises: TypeError."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: expected an integer, got {described(value)}") from None


def flag(value: Any, where: str) -> bool:
    """Check a boolean. Raises: TypeError."""
    if not isinstance(value, bool):
        raise TypeError(f"{where}: expected True or False, got {described(value)}")
    return value


def described(value: Any) -> str:
    """Describe a value by its content and type, or an array by its type and shape."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array {value.dtype} {tuple(value.shape)}"
    return f"{quoted(value)} ({type(value).__name__})"


def _is_list(value: Any) -> bool:
    """Return whether a value is a collection, other than of letters, bytes or numbers."""
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray) and kind in "OU"
