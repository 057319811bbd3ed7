"""What a file tells: captions of named images, line by line, and its flaws."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from captioner.printable import quoted


class CaptionRecord(NamedTuple):
    """One caption as its file has it.

    `words` are its tokens, separated by spaces, where the file has tokens; `row` is that of the image in a matrix of
    features, where the file numbers its images; `line` tells where it stands.
    """

    image: str
    text: str
    split: str | None
    line: str
    words: str | None = None
    row: int | None = None


class Issue(NamedTuple):
    """What is wrong with one piece of a file; `line` is `captions.csv:812`."""

    line: str
    problem: str

    def __str__(self) -> str:
        return f"{self.line}: {self.problem}"


class Columns(NamedTuple):
    """What the columns of a table, or the keys of JSON lines, are called."""

    image: str = "image"
    caption: str = "caption"
    split: str = "split"


SPLITS = {"restval": "train", "training": "train", "testing": "test"} | dict.fromkeys(
    ("valid", "validation", "dev"), "val"
)
"""Names that mean another: Karpathy's restval is trained on."""


def split_name(text: str | None) -> str | None:
    """The name of a split, spelt in one way: Training is train; names that nobody knows stay as they are."""
    known = (text or "").lower()
    return SPLITS.get(known, known) if known in ("train", "val", "test", *SPLITS) else text


def image_name(text: str) -> str:
    """The name of an image, spelt in one way: images\\a.jpg is images/a.jpg, and ./a.jpg is a.jpg."""
    return re.sub(r"^(?:\./+)+(?=[^/])", "", text.strip().replace("\\", "/"))


def parse_json(text: str) -> Any:
    """Raises: ValueError, also where an object has a key twice, of which one would be dropped; RecursionError."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"the key {quoted(key)} stands twice")
        content[key] = value
    return content
