"""What the rows of a table of `captioner caption` contain: escaped texts and paths, descriptions, and stamps."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

NEEDED = ("image", "caption", "keywords", "file")
"""The columns without which a table is none of an album."""
DIGITS = 8
"""Hexadecimal digits of a digest in a table."""
_STAMP = re.compile(r"([0-9]{1,19}) bytes ([0-9]{8}T[0-9]{6}Z)" + 3 * rf" ([0-9a-f]{{{DIGITS}}})")
_FORMULA = r"(?:\A(?={0}'*[\t\r\n])|(?:\A|(?<=[;\t\r\n]))(?={0}'* *[=+\-@\uff1d\uff0b\uff0d\uff20]))"
"""A place in a cell where a spreadsheet may see a formula: its start, or after the separator of another language."""
_UNESCAPED, _ESCAPED = re.compile(_FORMULA.format("")), re.compile(_FORMULA.format("'") + "'")
_ESCAPED_BYTE, _UNESCAPED_BYTES = re.compile(rb"\\x([0-9a-f]{2})"), re.compile("[\\\\\x00-\x1f\x7f-\x9f\udc80-\udcff]")


class OwnCell(str):
    """A cell that a person wrote, which stays as it is."""


def csv_line(cells: Iterable[str | float], delimiter: str = ",", line_end: str = "\r\n") -> str:
    """Return a line of a table, without cells that a spreadsheet would execute.

    Text cells are quoted. In one that a spreadsheet would read as a formula, an apostrophe precedes it, which
    `unescape_cell` removes.

    Source: OWASP, CSV Injection.
    """
    text = io.StringIO()
    escaped = [_UNESCAPED.sub("'", cell) if type(cell) is str else cell for cell in cells]
    csv.writer(text, delimiter=delimiter, lineterminator=line_end, quoting=csv.QUOTE_NONNUMERIC).writerow(escaped)
    return text.getvalue()


def unescape_cell(cell: str) -> str:
    """Return the text of a cell of `csv_line`."""
    return _ESCAPED.sub("", cell)


def escape_path(path: str) -> str:
    r"""Return a path as text on one line: control characters, backslashes and bytes that are not UTF-8 become \xNN."""
    return _UNESCAPED_BYTES.sub(lambda match: "".join(rf"\x{byte:02x}" for byte in os.fsencode(match[0])), path)


def unescape_path(text: str) -> str:
    """Return the path that `escape_path` returned as text."""
    return os.fsdecode(_ESCAPED_BYTE.sub(lambda match: bytes.fromhex(match[1].decode()), os.fsencode(text)))


class Description(NamedTuple):
    """What is stored of a photograph beside it, or shown on a page: a caption, keywords and marks, best first."""

    caption: str
    keywords: Sequence[str] = ()
    marks: Sequence[str] = ()


class Stamp(NamedTuple):
    """The column `file` of a table: size and time of the photograph, and digests of it, the caption and the model.

    It is one text that spreadsheets leave alone. `caption` is the digest of the caption with its keywords: a row with
    another one, or whose stamp cannot be read, was corrected by a person.
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


def digest_of(*texts: str) -> str:
    """Return the digest of texts for a stamp."""
    text = "\0".join(texts)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:DIGITS]


def description_digest(description: Description) -> str:
    """Return the digest of a caption with its keywords, as they are read from a table."""
    return digest_of(description.caption, *words_of(", ".join(description.keywords)))


def description_of(values: Mapping[str, Any]) -> Description:
    """Return the description in a row; a person may have edited any part."""
    keywords, marks = (words_of(values.get(name)) for name in ("keywords", "marks"))
    return Description(str(values.get("caption") or ""), keywords, [] if values.get("corrected") is True else marks)


def correction_of(values: Mapping[str, Any]) -> Description | None:
    """Return the caption and keywords of a row, if a person corrected them."""
    description, stamp = description_of(values), parse_stamp(values.get("file"))
    is_own = stamp is not None and stamp.caption == description_digest(description)
    return None if is_own else description._replace(marks=())


def is_corrected(values: Mapping[str, Any]) -> bool:
    """Return whether a row has a correction, also one that was copied from another table."""
    return values.get("corrected") is True or correction_of(values) is not None


def words_of(value: object) -> list[str]:
    """Return the words in a cell of CSV, or in a list of JSON of words or keywords."""
    if isinstance(value, str):
        return [word for part in re.split("[,;]", value) if (word := part.strip())]
    items = value if isinstance(value, list) else []
    words = [each.get("word") if isinstance(each, dict) else each for each in items]
    return [word for word in words if isinstance(word, str)]
