"""Records and issues of a caption file, and the spelling of split and image names."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from captioner.errors import quoted


class CaptionRecord(NamedTuple):
    """One caption of a file.

    `words` are its tokens separated by spaces, if the file has tokens. `row` is the row of the image in a feature
    matrix, if the file numbers its images. `line` is the location in the file.
    """

    image: str
    text: str
    split: str | None
    line: str
    words: str | None = None
    row: int | None = None


class Issue(NamedTuple):
    """A problem in a data file; `line` is its location, such as `captions.csv:812`."""

    line: str
    problem: str

    def __str__(self) -> str:
        return f"{self.line}: {self.problem}"


class Columns(NamedTuple):
    """Names of the columns of a table, or of the keys of JSON lines."""

    image: str = "image"
    caption: str = "caption"
    split: str = "split"


SPLITS = {"restval": "train", "training": "train", "testing": "test"} | dict.fromkeys(
    ("valid", "validation", "dev"), "val"
)
"""Aliases of split names; Karpathy's restval is used for training."""


def split_name(text: str | None) -> str | None:
    """Normalize a split name: Training becomes train; unknown names are unchanged."""
    name = (text or "").lower()
    return SPLITS.get(name, name) if name in ("train", "val", "test", *SPLITS) else text


def image_name(text: str) -> str:
    """Normalize an image name: images\\a.jpg becomes images/a.jpg, and ./a.jpg becomes a.jpg."""
    return re.sub(r"^(?:\./+)+(?=[^/])", "", text.strip().replace("\\", "/"))


def parse_json(text: str) -> Any:
    """Parse JSON. Raises: ValueError, also for a duplicate key; RecursionError."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"duplicate key {quoted(key)}")
        content[key] = value
    return content
