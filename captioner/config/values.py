"""Read the value of an option from text, and write it as text.

The type of the option decides how a text is read: a name or path literally (`no`, `1.0`), a number in decimal digits.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from unicodedata import category

from captioner.config.option_table import Option
from captioner.errors import JOINERS, printable, quoted, similar

NULL = ("null", "Null", "NULL", "~", "")
BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
"""Without leading zeros: 017 is 15 for a YAML 1.1 reader."""
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
NOT_PLAIN = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
"""Texts that YAML readers convert to other types; these, and those that are not `PLAIN`, are quoted."""
ACCEPTED: Mapping[type, Any] = {bool: bool, int: int, float: int | float, str: str, Path: str | Path}
"""The types of Python values for each type of option."""
INVISIBLE = ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp")
"""Unicode categories of characters that no name or path may contain."""
MAX_SHOWN = 60


def read(option: Option, text: str, folder: Path | None = None, *, is_quoted: bool = False) -> Any:
    """Read a value from a text, which was in quotes if `is_quoted`.

    A relative path starts at `folder`, by default at the current folder.

    Raises: ValueError, with what was expected and what was found.
    """
    if text in NULL and not is_quoted:
        value, is_read = None, option.nullable
    elif is_quoted and option.kind not in (str, Path):
        value, is_read = None, False
    else:
        value = _read_path(text, folder) if option.kind is Path else READ[option.kind](text)
        is_read = value is not None
    if not (is_read and option.admits(value)):
        shown = quoted(text, MAX_SHOWN) if is_quoted else printable(text or "null", MAX_SHOWN)
        hint = closest(text, option.choices) if option.choices else ""
        raise ValueError(f"expected {option.expected()}, got {shown}{hint}")
    return value


def converted(option: Option, value: Any) -> Any:
    """Convert a value of Python or JSON to the type of an option: an integer to a number, a name to an absolute path.

    Raises: ValueError, as `read`.
    """
    if value is None and option.nullable:
        return None
    if not isinstance(value, ACCEPTED[option.kind]) or isinstance(value, bool) != (option.kind is bool):
        raise ValueError(f"expected {option.expected()}, got {printable(repr(value), MAX_SHOWN)}")
    # In a shell, ~ and a path like it have another meaning than in Python.
    text = os.path.join(".", value) if option.kind is Path else str(value)
    return read(option, text, is_quoted=option.kind in (str, Path))


def write(option: Option, value: Any) -> str:
    """Write a value as YAML that `read` converts back to the same value."""
    return "null" if value is None else WRITE[option.kind](value)


def closest(path: str, valid: Collection[str]) -> str:
    """Return the hint ` (did you mean x?)` for a name whose last part is similar to that of one of `valid`, or "".

    Of paths with the same last name, the most similar one is suggested.
    """
    last_names = similar(path.rpartition(".")[2], dict.fromkeys(other.rpartition(".")[2] for other in valid))
    same = [other for other in valid if other.rpartition(".")[2] in last_names[:1]]
    return f" (did you mean {similar(path, same, 0)[0]}?)" if same else ""


def _read_int(text: str) -> int | None:
    number = int(text) if INTEGER.fullmatch(text) else None
    return None if number is None or abs(number) >= 1 << 63 else number


def _read_float(text: str) -> float | None:
    number = float(text) if NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def _read_name(text: str) -> str | None:
    return text if text and _is_visible(text) else None


def _is_visible(text: str) -> bool:
    """Return whether a text has no control character, surrogate or line separator; joiners are part of words."""
    return text.isprintable() or not any(category(c) in INVISIBLE and c not in JOINERS for c in text)


def _read_path(text: str, folder: Path | None) -> Path | None:
    if _read_name(text) is None:
        return None
    try:
        path = os.path.normpath(os.path.join(os.path.realpath(folder or "."), os.path.expanduser(text)))
    except OSError:  # the current folder was deleted
        return None
    return Path(path) if _is_visible(path) else None


def _write_float(value: float) -> str:
    mantissa, e, exponent = repr(float(value)).partition("e")
    return mantissa + (".0" if e and "." not in mantissa else "") + e + exponent  # YAML 1.1 needs a point


def _write_text(value: str | Path) -> str:
    text = str(value)
    is_plain = PLAIN.fullmatch(text) and text.lower() not in NOT_PLAIN
    return text if is_plain else json.dumps(text, ensure_ascii=False)


READ: Mapping[type, Callable[[str], Any]] = {
    bool: BOOL.get,
    int: _read_int,
    float: _read_float,
    str: _read_name,
}
WRITE: Mapping[type, Callable[[Any], str]] = {
    bool: lambda value: str(value).lower(),
    int: str,
    float: _write_float,
    str: _write_text,
    Path: _write_text,
}
