"""The table of options, derived from the dataclasses in `config.options`, and as JSON Schema."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

from captioner.config.options import Config, Prepare

BOUNDS: Mapping[str, tuple[Callable[[Any, Any], bool], str]] = {
    ">": (operator.gt, "exclusiveMinimum"),
    ">=": (operator.ge, "minimum"),
    "<": (operator.lt, "exclusiveMaximum"),
    "<=": (operator.le, "maximum"),
}
"""The comparison of each sign, and its name in JSON Schema."""
NOUNS: Mapping[type, str] = {bool: "true or false", int: "an integer", float: "a number", str: "a name", Path: "a path"}
DRAFT = "https://json-schema.org/draft/2020-12/schema"
TYPES: Mapping[type, Mapping[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string", "minLength": 1},
    Path: {"type": "string", "minLength": 1},
}
"""Types as JSON Schema."""


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
        in_bounds = all(BOUNDS[bound.sign][0](value, bound.limit) for bound in self.bounds)
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


def build(values: Mapping[str, Any], section: Any = Config, prefix: str = "") -> Any:
    """Build a Config from values by path, with defaults for the rest and without checks."""
    arguments: dict[str, Any] = {}
    for field in fields(section):
        path = prefix + field.name
        if is_dataclass(field.default):
            arguments[field.name] = build(values, type(field.default), f"{path}.")
        elif path in values:
            arguments[field.name] = values[path]
    return section(**arguments)


OPTIONS: Mapping[str, Option] = {option.path: option for option in options()}
"""The options of a config by path."""
PREPARE_OPTIONS: dict[str, Option] = {option.path: option for option in options(Prepare)}
"""The options of `captioner prepare` by name."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file.

    It contains the types, choices and bounds of the options; only the loader checks constraints between options.
    """
    # null: every option below the section is commented out
    schemas: dict[str, dict[str, Any]] = {
        path: {"description": doc, "type": ["object", "null"], "additionalProperties": False, "properties": {}}
        for path, doc in {"": str(Config.__doc__), **sections()}.items()
    }
    root = schemas[""]
    for path, schema in [*schemas.items(), *((path, _option(option)) for path, option in OPTIONS.items())]:
        section, _, name = path.rpartition(".")
        if path:
            schemas[section]["properties"][name] = schema
    return {"$schema": DRAFT, "title": "Config file of captioner", **root}


def _option(option: Option) -> dict[str, Any]:
    """Return the schema of one option: type or choices, bounds, description and default."""
    values = {"enum": list(option.choices)} if option.choices else dict(TYPES[option.kind])
    if option.nullable:
        values = {"enum": [*values["enum"], None]} if option.choices else {**values, "type": [values["type"], "null"]}
    limits = {BOUNDS[bound.sign][1]: option.kind(bound.limit) for bound in option.bounds}
    return {"description": f"{option.doc}; {option.expected()}", **values, **limits, "default": option.default}
