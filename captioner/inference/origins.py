"""The model packages that the training of a model started from: their terms apply to it too.

`train.init_from` records them in the first line of the run's history.jsonl, and `captioner package` in model.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captioner.storage.json_object import read_first_json_object

HISTORY = "history.jsonl"
ORIGINS = "origins"
MAX_ORIGINS = 20
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""The names of models: lower-case letters, digits and single hyphens."""
MAX_NAME = 60
LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}")


@dataclass(frozen=True)
class Origin:
    """A model package that the training of another model started from."""

    name: str
    license: str


def is_name(text: str) -> bool:
    """Return whether a text can be the name of a model."""
    return len(text) <= MAX_NAME and NAME.fullmatch(text) is not None


def origin_records(origins: Iterable[Origin]) -> list[dict[str, str]]:
    """Return origins as JSON objects."""
    return [asdict(origin) for origin in origins]


def parse_origins(records: Any) -> tuple[Origin, ...] | None:
    """Return the origins in a list of JSON objects; None for anything else, and for more than `MAX_ORIGINS`."""
    if not isinstance(records, list) or len(records) > MAX_ORIGINS or not all(map(_is_origin, records)):
        return None
    return tuple(Origin(one["name"], one["license"]) for one in records)


def _is_origin(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    name, license = record.get("name"), record.get("license")
    return isinstance(name, str) and is_name(name) and isinstance(license, str) and bool(LICENSE.fullmatch(license))


def recorded_origins(run: Path) -> tuple[Origin, ...]:
    """Return the origins that the history of a run records; none without history, or if it is damaged."""
    return parse_origins(read_first_json_object(run / HISTORY).get(ORIGINS)) or ()
