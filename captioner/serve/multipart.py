"""Parse bodies of type multipart/form-data in memory.

Starlette's parser writes files over 1 MB to temporary files; photographs must not reach the disk.

Source: RFC 7578; RFC 2046, section 5.1.1; for the escapes in names, the HTML standard, "Multipart form data".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_PARTS = 40
MAX_HEADERS = 4096
"""Maximum bytes of the headers of a part."""
BOUNDARY = re.compile(
    r"""multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)""", re.IGNORECASE
)
_PARAMETER = re.compile(r';\s*(name|filename)="([^"\r\n]*)"', re.IGNORECASE)
_ESCAPES = {"%22": '"', "%0D": "\r", "%0A": "\n"}


class Part(NamedTuple):
    """A field of a form; `file` is the name of a file, or None for a text."""

    name: str
    file: str | None
    content: bytes


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a multipart form, or None for another type of body."""
    found = BOUNDARY.match(content_type)
    return None if found is None else (found[1] or found[2]).encode("latin-1")


def parse(body: bytes, boundary: bytes) -> Iterator[Part]:
    """Yield the parts of a form.

    Raises: ValueError for a body that is incomplete or not a form, or has too many parts.
    """
    delimiter, at = b"--" + boundary, 0
    if not body.startswith(delimiter):
        at = body.find(b"\r\n" + delimiter) + 2
        if at < 2:
            raise ValueError("the boundary is missing")
    for number in range(MAX_PARTS + 1):
        at += len(delimiter)
        if body[at : at + 2] == b"--":
            return
        start = body.find(b"\r\n", at, at + MAX_HEADERS) + 2
        middle = body.find(b"\r\n\r\n", start - 2, start + MAX_HEADERS)
        end = body.find(b"\r\n" + delimiter, max(middle + 2, 0))
        if start < 2 or middle < 0 or end < 0:
            raise ValueError("a part is incomplete")
        if number == MAX_PARTS:
            raise ValueError(f"it has more than {MAX_PARTS} parts")
        yield Part(*_disposition(body[start:middle]), body[middle + 4 : end])
        at = end + 2


def _disposition(headers: bytes) -> tuple[str, str | None]:
    """Return the name of a part, and of its file."""
    for line in headers.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip().lower() == "content-disposition" and value.strip().lower().startswith("form-data"):
            found = {name.lower(): _unescaped(text) for name, text in _PARAMETER.findall(value)}
            if "name" in found:
                return found["name"], found.get("filename")
    raise ValueError("a part has no name")


def _unescaped(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text
