"""Identities of image encoders: the text that a data set and a model contain, and the recipe that opens the encoder.

A recipe is `NAME`, or `onnx:FILE:OPTION...`. An identity is `scenes-VERSION`, `everyday,sha256=DIGEST`, or
`onnx:FILE,OPTION=VALUE,...,sha256=DIGEST`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

IDENTITIES = (
    re.compile(r"(?P<name>scenes)-\d+"),
    re.compile(r"(?P<name>everyday),sha256=[0-9a-f]{64}"),
    re.compile(
        r"(?P<name>onnx):(?P<file>[^,]+),size=(?P<size>\d+),mean=(?P<mean>[^,]*),scale=(?P<scale>[^,]*),"
        r"layout=(?P<layout>\w+),output=(?P<output>[^,]*),sha256=[0-9a-f]{64}"
    ),
)
"""Patterns of the identities of encoders; the groups are the name, the file name and the options.

Names are percent-encoded, so that they cannot contain separators and are printable.
"""


class Recipe(NamedTuple):
    """What opens an encoder: its name, the file of `onnx`, and its options."""

    name: str
    file: str
    options: Mapping[str, str]

    def __str__(self) -> str:
        pairs = (
            f"{key}={quote(value, safe='/', errors='surrogateescape')}" if value else key
            for key, value in self.options.items()
        )
        return ":".join((self.label, *pairs))

    @property
    def label(self) -> str:
        """The name and the file, without options."""
        return f"{self.name}:{self.file}" if self.file else self.name


def parse_identity(identity: str) -> Recipe | None:
    """Parse an identity; None if it is unknown, as for features from a file."""
    match = next(filter(None, (pattern.fullmatch(identity) for pattern in IDENTITIES)), None)
    if match is None:
        return None
    values = {key: unquote(value, errors="surrogateescape") for key, value in match.groupdict().items()}
    return Recipe(values.pop("name"), values.pop("file", ""), values)


def same_encoder(identity: str, other: str) -> bool:
    """Return whether two identities denote the same encoder; file names are ignored."""
    return without_file_name(identity) == without_file_name(other)


def without_file_name(identity: str) -> str:
    """Return an identity without the name of a model or feature file."""
    return re.sub(r"^(onnx|features):.*?(?=,size=|,sha256=)", r"\1:", identity)
