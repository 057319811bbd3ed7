"""Captions as people have them -> one stream of `CaptionRecord` and `Issue`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from captioner.data.readers.annotations import coco, karpathy
from captioner.data.readers.records import SPLITS, CaptionRecord, Columns, Issue, image_name, parse_json, split_name
from captioner.data.readers.tables import FORMATS, TOKEN, json_entry
from captioner.errors import DataError
from captioner.printable import quoted
from captioner.storage.files import read_bytes, read_text

__all__ = ["CaptionRecord", "Columns", "Issue", "read", "read_list", "split_in_name", "split_name"]

LIMIT = 1 << 30
MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
"""How a text may begin: what spreadsheets call Unicode text is UTF-16."""
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How files of spreadsheets begin."""
EXPECTED = (
    "expected CSV or TSV with a header, JSON lines, Flickr's token.txt, Karpathy's dataset.json or COCO's "
    "captions_*.json"
)
_SPLIT = re.compile(rf"(?<![a-z])(?:{'|'.join(('train', 'val', 'test', *SPLITS))})(?![a-z])")


def read(path: Path, columns: Columns | None = None, split: str | None = None) -> Iterator[CaptionRecord | Issue]:
    """Every caption of a file, and every flaw, in the order of the file; the format is told from the content.

    `split` is what all captions of the file belong to; without it, what the file says of each.

    Raises: DataError when the file cannot be read, or is of no known format.
    """
    if os.path.isdir(path):
        raise DataError(f"{path}: expected a file of captions, got a folder; name the file in it ({EXPECTED})")
    content = read_bytes(path, LIMIT)
    if content.startswith(WORKBOOKS):
        raise DataError(f"{path}: expected a table as text, got a workbook or an archive; save it as CSV")
    if b"\0" in content[:4096] and content[:2] not in MARKS:
        begins, at = content[:16], content.index(0)
        raise DataError(f"{path}: {EXPECTED}, got a file that begins with {begins!r} and has a NUL at byte {at:,}")
    encoding = next((MARKS[mark] for mark in MARKS if content.startswith(mark)), "utf-8")
    try:
        # what is no Unicode stays visible in its line, to be told there
        text = content.decode(encoding, errors="surrogateescape" if encoding != "utf-16" else "surrogatepass")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-16 text, as its first two bytes say, got {error.reason} at byte {error.start:,}; "
            "try a fresh copy, or save it as UTF-8"
        ) from error
    for told in _told(path, text, columns or Columns(), split):
        if isinstance(told, CaptionRecord):
            told = _checked(told._replace(split=split_name(split or told.split)))
        yield told


def split_in_name(path: Path) -> str | None:
    """The split that COCO's files carry in their names: captions_train2014.json."""
    found = {SPLITS.get(split, split) for split in _SPLIT.findall(path.stem.lower())}
    return found.pop() if len(found) == 1 else None


def read_list(path: Path) -> list[str]:
    """The names of images in a file, one a line: Flickr_8k.trainImages.txt.

    Raises: DataError when the file cannot be read.
    """
    return [image_name(line) for line in re.split(r"[\r\n]", read_text(path)) if line.strip()]


def _told(path: Path, text: str, columns: Columns, split: str | None) -> Iterator[CaptionRecord | Issue]:
    start = text.lstrip()[:1]
    if start in ("{", "[") and path.suffix.lower() not in (".jsonl", ".ndjson"):
        content = _json(path, text)
        if content is not None:
            return _annotations(path, content, columns, split)
    if start == "{":
        return FORMATS["jsonl"](path.name, text, columns)
    if TOKEN.match(text.lstrip()):
        return FORMATS["token"](path.name, text, columns)
    if not text.strip():
        raise DataError(f"{path}: {EXPECTED}, got an empty file")
    return FORMATS["csv"](path.name, text, columns)


def _json(path: Path, text: str) -> Any:
    """The document, or None where only the first line is one: JSON lines."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        try:
            first = json.loads(re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0])
        except (ValueError, RecursionError):
            raise DataError(f"{path}: expected JSON, got something else: {error}") from error
        if isinstance(first, dict):
            return None
        raise DataError(f"{path}: {EXPECTED}, got a JSON {type(first).__name__} a line") from error


def _annotations(path: Path, content: Any, columns: Columns, split: str | None) -> Iterator[CaptionRecord | Issue]:
    match content:
        case {"images": list(), "annotations": list()}:
            return coco(path.name, content, split or split_in_name(path))
        case {"images": list()}:
            return karpathy(path.name, content)
        case dict() if columns.image in content:  # JSON lines of a single line
            return json_entry(f"{path.name}:1", content, columns)
        case [dict(), *_]:
            entries = (json_entry(f"{path.name}: [{number}]", one, columns) for number, one in enumerate(content))
            return chain.from_iterable(entries)
        case dict():
            keys = ", ".join(map(quoted, list(content)[:8]))
            raise DataError(f"{path}: {EXPECTED}, got JSON with {keys or 'nothing in it'}")
        case _:
            raise DataError(f"{path}: {EXPECTED}, got a JSON {type(content).__name__}")


def _checked(told: CaptionRecord) -> CaptionRecord | Issue:
    """A caption whose texts can be written down in any file, and whose image is spelt in one way."""
    for what, text in (("image", told.image), ("caption", told.text), ("split", told.split or "")):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            bad = text[error.start]
            byte = bad.encode("utf-8", "surrogateescape") if 0xDC80 <= ord(bad) <= 0xDCFF else bad
            return Issue(told.line, f"{what}: expected UTF-8 text, got {byte!r}; save the file as UTF-8")
    image = image_name(told.image)
    if "\0" in image or image.endswith("/"):
        return Issue(told.line, f"image: expected a name, got {quoted(image)}")
    return told._replace(image=image)
