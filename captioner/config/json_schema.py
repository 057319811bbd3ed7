"""The JSON Schema of the config file, derived from the table of options."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captioner.config.constraints import CONSTRAINTS, Condition, satisfies
from captioner.config.options import Config
from captioner.config.schema import Option, options, sections

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TYPES: Mapping[type, Mapping[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string", "minLength": 1},
    Path: {"type": "string", "minLength": 1},
}
BOUNDS = {">": "exclusiveMinimum", ">=": "minimum", "<": "exclusiveMaximum", "<=": "maximum"}
DEFAULTS = {option.path: option.default for option in options()}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a config file.

    It contains every rule of the loader that JSON Schema can express: the arithmetic constraints are missing.
    """
    root = _section(str(Config.__doc__))
    found: dict[str, dict[str, Any]] = {"": root}
    for path, doc in sections().items():
        found[path] = _section(doc)
        _add(found, path, found[path])
    for option in options():
        _add(found, option.path, _option(option))
    constraints = [
        {"description": f"{constraint.option}: {constraint.problem}", "anyOf": [*map(_all_of, constraint.alternatives)]}
        for constraint in CONSTRAINTS
        if constraint.alternatives
    ]
    return {"$schema": DRAFT, "title": "Config file of captioner", **root, "allOf": constraints}


def _add(found: Mapping[str, dict[str, Any]], path: str, schema: dict[str, Any]) -> None:
    section, _, name = path.rpartition(".")
    found[section]["properties"][name] = schema


def _section(doc: str) -> dict[str, Any]:
    # null: every option below the section is commented out
    return {"description": doc, "type": ["object", "null"], "additionalProperties": False, "properties": {}}


def _option(option: Option) -> dict[str, Any]:
    """Return the schema of one option: type or choices, bounds, description and default."""
    values = {"enum": list(option.choices)} if option.choices else dict(TYPES[option.kind])
    if option.nullable:
        values = {"enum": [*values["enum"], None]} if option.choices else {**values, "type": [values["type"], "null"]}
    limits = {BOUNDS[bound.sign]: option.kind(bound.limit) for bound in option.bounds}
    return {"description": f"{option.doc}; {option.expected()}", **values, **limits, "default": option.default}


def _all_of(alternative: Mapping[str, Condition]) -> dict[str, Any]:
    schemas = [_at(path, condition) for path, condition in alternative.items()]
    return schemas[0] if len(schemas) == 1 else {"allOf": schemas}


def _at(path: str, condition: Condition) -> dict[str, Any]:
    """Return a schema of the whole file: the option at `path`, or else its default, satisfies `condition`."""
    required = not satisfies(DEFAULTS[path], condition)
    schema: dict[str, Any] = dict(condition)
    for name in reversed(path.split(".")):
        schema = {"properties": {name: schema}}
        if required:
            schema = {"type": "object", "required": [name], **schema}
    return schema
