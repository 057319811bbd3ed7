"""What the rows of a table of `captioner caption` contain: escaped texts and paths, and what a person corrected."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

GENERATED = ("generated_caption", "generated_keywords")
"""The columns of what the model wrote."""
NEEDED = ("image", "caption", "keywords", *GENERATED)
"""The columns without which a table is none of an album."""
_FORMULA = r"(?:\A(?={0}'*[\t\r\n])|(?:\A|(?<=[;\t\r\n]))(?={0}'* *[=+\-@\uff1d\uff0b\uff0d\uff20]))"
"""A place in a cell where a spreadsheet may see a formula: its start, or after the separator of another language."""
_UNESCAPED, _ESCAPED = re.compile(_FORMULA.format("")), re.compile(_FORMULA.format("'") + "'")
_ESCAPED_BYTE, _UNESCAPED_BYTES = re.compile(rb"\\x([0-9a-f]{2})"), re.compile("[\\\\\x00-\x1f\x7f-\x9f\udc80-\udcff]")


BY_PERSON = ("corrected", "confirmed")
"""The marks of a caption and keywords that a person wrote, and of such that equal the generated ones."""


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


def correction_of(values: Mapping[str, Any]) -> tuple[str | None, Sequence[str] | None]:
    """Return the caption and the keywords of a row that a person wrote, None where they are the generated ones."""
    texts = [" ".join(str(values.get(name) or "").split()) for name in ("caption", "generated_caption")]
    words = [words_of(values.get(name)) for name in ("keywords", "generated_keywords")]
    return (texts[0] if texts[0] != texts[1] else None), (words[0] if words[0] != words[1] else None)


def is_corrected(values: Mapping[str, Any]) -> bool:
    """Return whether a person corrected or confirmed a row."""
    return correction_of(values) != (None, None) or values.get("marks") in BY_PERSON


def words_of(value: object) -> list[str]:
    """Return the words in a cell of CSV, each once, or in a list of JSON of words or keywords."""
    if isinstance(value, str):
        return [*dict.fromkeys(word for part in re.split("[,;]", value) if (word := part.strip()))]
    items = value if isinstance(value, list) else []
    words = [each.get("word") if isinstance(each, dict) else each for each in items]
    return [word for word in words if isinstance(word, str)]
