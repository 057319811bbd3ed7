"""The options of a config that differ from the defaults, without the paths of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from captioner.config.effects import SHAPING
from captioner.config.options import Config
from captioner.config.schema import Option, options
from captioner.config.student import STUDENT
from captioner.config.values import write


def differing_options(config: Config) -> Iterator[tuple[Option, Any]]:
    """Yield the options that differ from their defaults, with their values. File paths are omitted."""
    for option in options():
        value = attrgetter(option.path)(config)
        if option.kind is not Path and value != option.default:
            yield option, value


def student_overrides(config: Config) -> list[str]:
    """Return the overrides of `captioner distill` that make a student with the options of a config.

    A student has the options of its teacher, except those that `captioner distill` sets. So these are given in any
    case, and those that shape the model too. Of the others, only those that differ from their defaults are given.
    """
    always = {*SHAPING, *(override.partition("=")[0] for override in STUDENT)}
    differing = dict(differing_options(config))
    given = [
        f"{option.path}={write(option, attrgetter(option.path)(config))}"
        for option in options()
        if (option in differing or option.path in always) and option.path != "train.objective"
    ]
    return given if config.train.init_from is not None else [*given, "train.init_from=null"]


def teacher_overrides(decode: object) -> list[str]:
    """Return the overrides of a teacher with these decoding options, by name: those that differ from their defaults."""
    known = {option.path.removeprefix("decode."): option for option in options() if option.path.startswith("decode.")}
    values = decode.items() if isinstance(decode, dict) else ()
    return [
        f"{known[name].path}={write(known[name], value)}"
        for name, value in values
        if name in known and value != known[name].default and (value is None or isinstance(value, known[name].kind))
    ]


def config_differences(config: Config) -> str:
    """Return the options that differ from their defaults, as a config file. File paths are omitted."""
    tree: dict[str, Any] = {}
    for option, value in differing_options(config):
        *sections, name = option.path.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return yaml_text(tree) if tree else ""


def yaml_text(tree: dict[str, Any]) -> str:
    """Write YAML with one line per value, in the given order."""
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text
