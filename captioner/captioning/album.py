"""The album: tables of captions that grow, photograph by photograph, and go on where they stopped."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import UTC, datetime
from typing import NamedTuple

DIGITS = 8
"""Hexadecimal digits of a digest in a table."""
_STAMP = re.compile(
    rf"(\d+) bytes (\d{{8}}T\d{{6}}Z) ([0-9a-f]{{{DIGITS}}}) ([0-9a-f]{{{DIGITS}}}) ([0-9a-f]{{{DIGITS}}})"
)


class Stamp(NamedTuple):
    """The column `file` of a table: size and time of the photograph, and digests of it, the caption and the model.

    It is one text that spreadsheets leave alone. A row whose caption has another digest, or whose stamp cannot be read,
    was corrected by a person.
    """

    size: int
    time: str
    photo: str
    caption: str
    model: str

    def __str__(self) -> str:
        return f"{self.size} bytes {self.time} {self.photo} {self.caption} {self.model}"


def parse_stamp(text: object) -> Stamp | None:
    """Return the stamp in a cell, or None if it cannot be read."""
    match = _STAMP.fullmatch(text.strip()) if isinstance(text, str) else None
    return match and Stamp(int(match[1]), *match.groups()[1:])


def is_corrected(caption: str, stamp: Stamp | None) -> bool:
    """Return whether a person corrected the caption of a row."""
    return stamp is None or stamp.caption != digest_of(caption)


def digest_of(text: str) -> str:
    """Return the digest of a text for a stamp."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:DIGITS]


def time_of(status: os.stat_result) -> str:
    """Return the time of a file for a stamp: UTC, in seconds."""
    return datetime.fromtimestamp(int(status.st_mtime), UTC).strftime("%Y%m%dT%H%M%SZ")
