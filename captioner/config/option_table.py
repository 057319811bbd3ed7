"""The table of options, derived from the dataclasses in `config.options`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from captioner.config.options import Config, Prepare

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
    """One option; `kind` is bool, int, float, str or Path."""

    path: str
    kind: type
    nullable: bool
    default: Any
    bounds: tuple[Bound, ...]
    choices: tuple[str, ...]
    doc: str

    def admits(self, value: Any) -> bool:
        """Return whether a value of the right type is within the bounds and one of the choices."""
        if value is None:
            return self.nullable
        in_bounds = all(BOUNDS[bound.sign](value, bound.limit) for bound in self.bounds)
        return in_bounds and (not self.choices or value in self.choices)

    def expected(self) -> str:
        """Describe the valid values, such as `an integer >= 1 or null`."""
        noun = either(self.choices) if self.choices else NOUNS[self.kind]
        bounds = " and ".join(map(str, self.bounds))
        return f"{noun} {bounds}".rstrip() + (" or null" if self.nullable else "")


def either(words: Sequence[str]) -> str:
    """Join words as alternatives, such as `sgd, adam or adamw`."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def options(section: type[Any] = Config, prefix: str = "") -> tuple[Option, ...]:
    """List the options of a section and its subsections in the order of the dataclasses."""
    hints = get_type_hints(section, include_extras=True)
    rows: list[Option] = []
    for field in fields(section):
        path = prefix + field.name
        if is_dataclass(field.default):
            rows.extend(options(type(field.default), f"{path}."))
            continue
        annotation, doc, *bounds = get_args(hints[field.name])
        parts = get_args(annotation) or (annotation,)
        choices = tuple(part for part in parts if isinstance(part, str))
        limits = tuple(Bound(sign, float(limit)) for sign, limit in map(str.split, bounds))
        kind = str if choices else parts[0]
        rows.append(Option(path, kind, NoneType in parts, field.default, limits, choices, doc))
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
