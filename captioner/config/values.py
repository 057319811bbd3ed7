"""One value of a config file: its text <-> what its option holds.

A scalar is read by the core rules of YAML 1.2, where the option says which type to expect: a name or path is taken
as it stands (`no`, `1.0`), and nothing else is guessed (`017`, `1:30`, `yes`, `.inf` and `true` are not numbers).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from captioner.config.schema import Option
from captioner.printable import printable, quoted

NULL = re.compile(r"null|Null|NULL|~|")
BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
LEADING_ZEROS = re.compile(r"([-+]?)0+(0|[1-9][0-9]*)")
NOT_FINITE = re.compile(r"[-+]?\.?(inf|infinity|nan)", re.IGNORECASE)
INT_LIMIT, MAX_SHOWN = 2**63, 60
# Controls, surrogates, the marks and line ends over which editors and YAML parsers disagree, and what turns the
# direction of writing, so that a line reads otherwise than it is.
FORBIDDEN = re.compile(
    "[^\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
# What older YAML readers, or this one, would take for something else is written in quotes.
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
NOT_PLAIN = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


@dataclass(frozen=True)
class Scalar:
    """A value as written: its text, whether it stood without quotes, and the folder where its relative paths begin."""

    text: str
    plain: bool = True
    folder: Path | None = None

    @property
    def is_null(self) -> bool:
        return self.plain and NULL.fullmatch(self.text) is not None

    def __str__(self) -> str:
        return printable(self.text or "null", MAX_SHOWN) if self.plain else quoted(self.text, MAX_SHOWN)


def read(option: Option, scalar: Scalar) -> tuple[Any, str | None]:
    """The value that an option takes from a scalar, and the problem that there is with it, if any."""
    value = None if scalar.is_null else READERS[option.kind](scalar)
    if option.admits(value) and (value is not None or scalar.is_null):
        return value, None
    return None, f"expected {option.expected()}, got {scalar}{_hint(option, scalar)}"


def write(option: Option, value: Any) -> str:
    """The text that `read` turns back into this value."""
    return "null" if value is None else WRITERS[option.kind](value)


def closest(path: str, known: Iterable[str]) -> str:
    """The hint ` (did you mean x?)` for the path whose last name is most alike, or nothing when none is alike."""

    def likeness(candidate: str) -> tuple[float, float]:
        lasts = (path.rpartition(".")[2], candidate.rpartition(".")[2])
        last, whole = (SequenceMatcher(None, a[:MAX_SHOWN], b).ratio() for a, b in (lasts, (path, candidate)))
        return last, whole

    best = max(known, key=likeness)
    return f" (did you mean {best}?)" if likeness(best)[0] > 0.6 else ""


def _read_bool(scalar: Scalar) -> bool | None:
    return BOOL.get(scalar.text) if scalar.plain else None


def _read_int(scalar: Scalar) -> int | None:
    # The length comes first: int() of many digits is slow, and refuses some with an exception.
    if not scalar.plain or len(scalar.text) > len(str(-INT_LIMIT)) or not INTEGER.fullmatch(scalar.text):
        return None
    number = int(scalar.text)
    return number if abs(number) < INT_LIMIT else None


def _read_float(scalar: Scalar) -> float | None:
    number = float(scalar.text) if scalar.plain and NUMBER.fullmatch(scalar.text) else math.inf
    return number if math.isfinite(number) else None


def _read_name(scalar: Scalar) -> str | None:
    return scalar.text if scalar.text and not FORBIDDEN.search(scalar.text) else None


def _read_path(scalar: Scalar) -> Path | None:
    if _read_name(scalar) is None:
        return None
    path = os.path.expanduser(scalar.text)
    if not os.path.isabs(path):
        try:
            path = os.path.normpath(os.path.join(os.path.realpath(scalar.folder or "."), path))
        except OSError:  # the current folder is gone
            return None
    return None if FORBIDDEN.search(path) else Path(path)  # a folder's name may be no UTF-8 text


def _hint(option: Option, scalar: Scalar) -> str:
    if option.choices:
        return closest(scalar.text, option.choices)
    if not scalar.plain and READERS[option.kind](Scalar(scalar.text)) is not None:
        return " (without quotes)"
    return HINTS[option.kind](option, scalar.text)


def _hint_bool(option: Option, text: str) -> str:
    meant = {"yes": True, "on": True, "y": True, "1": True, "no": False, "off": False, "n": False, "0": False}
    return f" (write {str(meant[text.lower()]).lower()})" if text.lower() in meant else " (write true or false)"


def _hint_number(option: Option, text: str) -> str:
    if zeros := LEADING_ZEROS.fullmatch(text):
        return f" (write {printable(zeros[1] + zeros[2], MAX_SHOWN)})"
    if NOT_FINITE.fullmatch(text):
        return " (it must be finite)"
    if not NUMBER.fullmatch(text):
        return " (write it in decimal digits)" if text[:1].isdecimal() else ""
    number = float(text)
    if abs(number) >= (INT_LIMIT if option.kind is int else math.inf):
        return " (too large)"
    whole = option.kind is int and not INTEGER.fullmatch(text) and number.is_integer() and option.admits(int(number))
    return f" (write {int(number)})" if whole else ""


def _hint_text(option: Option, text: str) -> str:
    return " (it holds a control character)" if FORBIDDEN.search(text) else ""


def _write_float(value: float) -> str:
    mantissa, e, exponent = repr(float(value)).partition("e")
    return mantissa + (".0" if e and "." not in mantissa else "") + e + exponent  # YAML 1.1 needs the point in 1.0e-08


def _write_text(value: str | Path) -> str:
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in NOT_PLAIN:
        return text
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


READERS: Mapping[type, Callable[[Scalar], Any]] = {
    bool: _read_bool,
    int: _read_int,
    float: _read_float,
    str: _read_name,
    Path: _read_path,
}
HINTS: Mapping[type, Callable[[Option, str], str]] = {
    bool: _hint_bool,
    int: _hint_number,
    float: _hint_number,
    str: _hint_text,
    Path: _hint_text,
}
WRITERS: Mapping[type, Callable[[Any], str]] = {
    bool: lambda value: str(value).lower(),
    int: str,
    float: _write_float,
    str: _write_text,
    Path: _write_text,
}
