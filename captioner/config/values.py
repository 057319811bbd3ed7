"""Convert one value of a config file from text and to text.

The type of the option decides how a scalar is read, by the core schema of YAML 1.2: a name or path is read literally
(`no`, `1.0`), and `017`, `1:30`, `yes`, `.inf` and `true` are not numbers.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from captioner.config.option_table import Option
from captioner.errors import printable, quoted, similar

NULL = re.compile(r"null|Null|NULL|~|")
BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
LEADING_ZEROS = re.compile(r"([-+]?)0+(0|[1-9][0-9]*)")
NOT_FINITE = re.compile(r"[-+]?\.?(inf|infinity|nan)", re.IGNORECASE)
INT_LIMIT, MAX_SHOWN = 2**63, 60
# Control characters, surrogates, byte-order marks, line ends that not all editors and YAML parsers recognize, and
# bidirectional controls, which make a line read differently from its content.
FORBIDDEN = "[^\x20-\x7e\xa0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
# Other texts are quoted, because a YAML 1.1 or 1.2 reader may convert them to another type.
PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
NOT_PLAIN = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))


@dataclass(frozen=True)
class Scalar:
    """A scalar of a config: its text, whether it is unquoted, and the base folder of relative paths."""

    text: str
    plain: bool = True
    folder: Path | None = None

    @property
    def is_null(self) -> bool:
        return self.plain and NULL.fullmatch(self.text) is not None

    def __str__(self) -> str:
        return printable(self.text or "null", MAX_SHOWN) if self.plain else quoted(self.text, MAX_SHOWN)


def read(option: Option, scalar: Scalar) -> tuple[Any, str | None]:
    """Convert a scalar to the type of an option; return the value and the problem, or None if there is none."""
    value = None if scalar.is_null else KINDS[option.kind].read(scalar)
    if option.admits(value) and (value is not None or scalar.is_null):
        return value, None
    return None, f"expected {option.expected()}, got {scalar}{_hint(option, scalar)}"


def write(option: Option, value: Any) -> str:
    """Write a value as text that `read` converts back to the same value."""
    return "null" if value is None else KINDS[option.kind].write(value)


def closest(path: str, valid: Collection[str]) -> str:
    """Return the hint ` (did you mean x?)` for a similar name among `valid`, or an empty text."""
    nearest = nearest_option(path, valid)
    return f" (did you mean {nearest}?)" if nearest else ""


def nearest_option(path: str, valid: Collection[str], similarity: float = 0.6) -> str | None:
    """Return the path among `valid` whose last name is most similar to that of a path.

    Of paths with the same last name, the most similar one is returned; None if no name has this similarity.
    """
    name = path.rpartition(".")[2]
    for last in similar(name, dict.fromkeys(candidate.rpartition(".")[2] for candidate in valid), similarity):
        return similar(path, (candidate for candidate in valid if candidate.rpartition(".")[2] == last), 0)[0]
    return None


def _read_bool(scalar: Scalar) -> bool | None:
    return BOOL.get(scalar.text) if scalar.plain else None


def _read_int(scalar: Scalar) -> int | None:
    # Check the length first: int() is slow for many digits, and raises above a limit.
    if not scalar.plain or len(scalar.text) > len(str(-INT_LIMIT)) or not INTEGER.fullmatch(scalar.text):
        return None
    number = int(scalar.text)
    return number if abs(number) < INT_LIMIT else None


def forbidden(text: str) -> str | None:
    """Return the first forbidden character of a text, or None."""
    if text.isascii() and text.isprintable():  # spares most configs the large pattern, which takes 4 ms to compile
        return None
    match = re.search(FORBIDDEN, text)
    return match[0] if match else None


def _read_float(scalar: Scalar) -> float | None:
    number = float(scalar.text) if scalar.plain and NUMBER.fullmatch(scalar.text) else math.inf
    return number if math.isfinite(number) else None


def _read_name(scalar: Scalar) -> str | None:
    return scalar.text if scalar.text and not forbidden(scalar.text) else None


def _read_path(scalar: Scalar) -> Path | None:
    if _read_name(scalar) is None:
        return None
    path = os.path.expanduser(scalar.text)
    if not os.path.isabs(path):
        try:
            path = os.path.normpath(os.path.join(os.path.realpath(scalar.folder or "."), path))
        except OSError:  # the current folder was deleted
            return None
    return None if forbidden(path) else Path(path)  # the folder may not be UTF-8


def _hint(option: Option, scalar: Scalar) -> str:
    if option.choices:
        return closest(scalar.text, option.choices)
    if not scalar.plain and KINDS[option.kind].read(Scalar(scalar.text)) is not None:
        return " (without quotes)"
    return KINDS[option.kind].hint(option, scalar.text)


def _hint_bool(option: Option, text: str) -> str:
    names = {"true": ("yes", "on", "y", "1"), "false": ("no", "off", "n", "0")}
    return f" (write {next((value for value in names if text.lower() in names[value]), 'true or false')})"


def _hint_number(option: Option, text: str) -> str:
    if zeros := LEADING_ZEROS.fullmatch(text):
        value = KINDS[option.kind].read(Scalar(zeros[1] + zeros[2]))
        is_valid = value is not None and option.admits(value)
        return f" (write {printable(zeros[1] + zeros[2], MAX_SHOWN)})" if is_valid else ""
    if NOT_FINITE.fullmatch(text):
        return " (must be finite)"
    if not NUMBER.fullmatch(text):
        return " (write it in decimal digits)" if text[:1].isdecimal() else ""
    number = float(text)
    if abs(number) >= (INT_LIMIT if option.kind is int else math.inf):
        return " (too large)"
    is_whole = option.kind is int and not INTEGER.fullmatch(text) and number.is_integer() and option.admits(int(number))
    return f" (write {int(number)})" if is_whole else ""


def _hint_text(option: Option, text: str) -> str:
    return " (contains a control character)" if forbidden(text) else ""


def _write_float(value: float) -> str:
    mantissa, e, exponent = repr(float(value)).partition("e")
    return mantissa + (".0" if e and "." not in mantissa else "") + e + exponent  # YAML 1.1 needs a point


def _write_text(value: str | Path) -> str:
    text = str(value)
    if PLAIN.fullmatch(text) and text.lower() not in NOT_PLAIN:
        return text
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


class Kind(NamedTuple):
    """How a value of a type is read from a scalar and written, and the hint at what is wrong with a text."""

    read: Callable[[Scalar], Any]
    hint: Callable[[Option, str], str]
    write: Callable[[Any], str]


KINDS: Mapping[type, Kind] = {
    bool: Kind(_read_bool, _hint_bool, lambda value: str(value).lower()),
    int: Kind(_read_int, _hint_number, str),
    float: Kind(_read_float, _hint_number, _write_float),
    str: Kind(_read_name, _hint_text, _write_text),
    Path: Kind(_read_path, _hint_text, _write_text),
}
