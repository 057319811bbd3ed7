"""The table of options, derived from the dataclasses in `config.options`, and their values as text.

The type of an option decides how a text is read: a name or path literally (`no`, `1.0`), a number in decimal digits.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints
from unicodedata import category

from captioner.config.options import Config, Prepare
from captioner.errors import JOINERS, printable, quoted, similar

BOUNDS: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le
}  # fmt: skip
"""The comparison of each sign."""
NOUNS: Mapping[type, str] = {bool: "true or false", int: "an integer", float: "a number", str: "a name", Path: "a path"}


class Bound(NamedTuple):
    """A bound of a range, such as `>= 1`."""

    sign: str
    limit: float

    def __str__(self) -> str:
        return f"{self.sign} {self.limit:.7g}"


@dataclass(frozen=True)
class Option:
    """One option; `kind` is bool, int, float, str or Path, which may also be a bare `name`, a str."""

    path: str
    kind: type
    nullable: bool
    default: Any
    bounds: tuple[Bound, ...]
    choices: tuple[str, ...]
    doc: str
    named: bool = False

    def admits(self, value: Any) -> bool:
        """Return whether a value of the right type is within the bounds and one of the choices."""
        if value is None:
            return self.nullable
        in_bounds = all(BOUNDS[bound.sign](value, bound.limit) for bound in self.bounds)
        return in_bounds and (not self.choices or value in self.choices)

    @property
    def multiple(self) -> bool:
        """Whether the value is a tuple of values."""
        return isinstance(self.default, tuple)

    def is_name(self, text: str) -> bool:
        """Return whether a text is a bare name, not a path."""
        return self.named and NAME.fullmatch(text) is not None

    def expected(self) -> str:
        """Describe the valid values, such as `an integer >= 1 or null`."""
        if self.choices:
            return either((*self.choices, "null") if self.nullable else self.choices)
        bounds = " and ".join(map(str, self.bounds))
        return f"{NOUNS[self.kind]} {bounds}".rstrip() + (" or null" if self.nullable else "")


def either(words: Sequence[str]) -> str:
    """Join words as alternatives, such as `sgd, adam or adamw`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def options(section: type[Any] = Config, prefix: str = "") -> tuple[Option, ...]:
    """List the options of a section and its subsections in the order of the dataclasses."""
    hints = get_type_hints(section, include_extras=True)
    rows: list[Option] = []
    for field in fields(section):
        if not field.compare:
            continue
        path = prefix + field.name
        if is_dataclass(field.default):
            rows.extend(options(type(field.default), f"{path}."))
            continue
        annotation, doc, *bounds = get_args(hints[field.name])
        parts = get_args(annotation) or (annotation,)
        choices = tuple(part for part in parts if isinstance(part, str))
        limits = tuple(Bound(sign, float(limit)) for sign, limit in map(str.split, bounds))
        kind = str if choices else parts[0]
        nullable = NoneType in parts or None in parts
        rows.append(Option(path, kind, nullable, field.default, limits, choices, doc, kind is Path and str in parts))
    return tuple(rows)


def sections(section: type[Any] = Config, prefix: str = "") -> Mapping[str, str]:
    """Map the path of every subsection to its docstring."""
    docs: dict[str, str] = {}
    for field in fields(section):
        if is_dataclass(field.default):
            path = prefix + field.name
            docs |= {path: str(field.default.__doc__), **sections(type(field.default), f"{path}.")}
    return docs


def replaced(section: Any, values: Mapping[str, Any]) -> Any:
    """Return a config, or a section of one, with other values of options by path, without checks."""
    own: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, dot, rest = path.partition(".")
        if dot:
            inner.setdefault(name, {})[rest] = value
        else:
            own[name] = value
    sections = {name: replaced(getattr(section, name), part) for name, part in inner.items()}
    return replace(section, **own, **sections)


OPTIONS: Mapping[str, Option] = {option.path: option for option in options()}
"""The options of a config by path."""
SECTIONS: Mapping[str, str] = sections()
"""The sections of a config by path, with their docstrings."""
PREPARE_OPTIONS: dict[str, Option] = {option.path: option for option in options(Prepare)}
"""The options of `captioner prepare` by name."""

NULL = ("null", "Null", "NULL", "~", "")
BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
NUMBER = re.compile(r"[-+]?((0|[1-9][0-9]*)\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
"""Without leading zeros: 017 is 15 for a YAML 1.1 reader."""
NAME = re.compile(r"[A-Za-z0-9_-]+")
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
        is_path = option.kind is Path and not option.is_name(text)
        value = _read_path(text, folder) if is_path else READ[option.kind](text)
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
    is_path = option.kind is Path and not (isinstance(value, str) and option.is_name(value))
    text = os.path.join(".", value) if is_path else str(value)
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
    Path: str,  # a bare name
}
WRITE: Mapping[type, Callable[[Any], str]] = {
    bool: lambda value: str(value).lower(),
    int: str,
    float: _write_float,
    str: _write_text,
    Path: _write_text,
}
