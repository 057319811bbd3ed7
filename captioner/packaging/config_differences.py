"""The options of a config that differ from the defaults, without the paths of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from captioner.config.options import Config
from captioner.config.schema import Option, options
from captioner.config.values import write


def differing_options(config: Config) -> Iterator[tuple[Option, Any]]:
    """Yield the options that differ from their defaults, with their values. File paths are omitted."""
    for option in options():
        value = attrgetter(option.path)(config)
        if option.kind is not Path and value != option.default:
            yield option, value


def student_overrides(config: Config) -> list[str]:
    """Return the overrides of `captioner distill` that make a student with the options of a config.

    They include only options that differ from their defaults.
    """
    sections = "train", "distill", "decode"
    return [
        f"{option.path}={write(option, value)}"
        for option, value in differing_options(config)
        if option.path.split(".")[0] in sections and option.path != "train.objective"
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
