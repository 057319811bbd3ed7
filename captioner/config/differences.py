"""The options of a config that differ from the defaults, without the paths of the machine."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from captioner.config.options import Config
from captioner.config.schema import options


def config_differences(config: Config) -> str:
    """Return the options that differ from their defaults, as a config file. File paths are omitted."""
    tree: dict[str, Any] = {}
    for option in options():
        value = attrgetter(option.path)(config)
        if option.kind is Path or value == option.default:
            continue
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
