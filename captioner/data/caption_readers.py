"""Read caption files of any supported format as a stream of `CaptionRecord` and `Issue`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from captioner.data.caption_formats import (
    SPLITS,
    TOKEN,
    CaptionRecord,
    Columns,
    Issue,
    coco,
    image_name,
    json_entry,
    json_lines,
    karpathy,
    parse_json,
    split_name,
    table,
    token_txt,
)
from captioner.errors import DataError, UsageError, quoted
from captioner.files.user_files import UTF_16, format_of, read_bytes, read_text

__all__ = ["CaptionRecord", "Columns", "Issue", "read_captions", "read_list", "split_name"]

LIMIT = 1 << 30
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""The first bytes of spreadsheet files."""
EXPECTED = (
    "expected CSV or TSV with a header, JSON lines, Flickr's token.txt, Karpathy's dataset.json or COCO's "
    "captions_*.json"
)
EXAMPLE = (
    "give a file in it, or write a table captions.csv with the first line image,caption and then one line per caption, "
    "such as dog.jpg,A dog runs"
)
_SPLIT = re.compile(rf"(?<![a-z])(?:{'|'.join(('train', 'val', 'test', *SPLITS))})(?![a-z])")


def read_captions(
    path: Path, columns: Columns | None = None, split: str | None = None
) -> Iterator[CaptionRecord | Issue]:
    """Read the captions and issues of a file in file order; the format is detected from the content.

    `split` overrides the split of every caption. Captions of an image that the file numbers twice are issues: they may
    be those of two photographs.

    Raises: DataError when the file cannot be read or its format is unsupported.
    """
    if os.path.isdir(path):
        raise DataError(f"{path}: expected a caption file, got a folder; {EXAMPLE}")
    content = read_bytes(path, LIMIT, expected="a caption file")
    if content.startswith(WORKBOOKS):
        raise DataError(f"{path}: expected a text file, got a workbook or an archive; save it as CSV")
    if content.startswith((b"%PDF", *UTF_16)) or b"\0" in content[:4096]:
        raise DataError(f"{path}: {EXPECTED}, got {format_of(content)}")
    text = content.decode("utf-8-sig", errors="surrogateescape")  # `_validate` reports invalid bytes with their line
    rows: dict[str, int | None] = {}
    for record in _parse(path, text, columns or Columns(), split):
        if isinstance(record, CaptionRecord):
            record = _validate(record._replace(split=split_name(split or record.split)))
        if isinstance(record, CaptionRecord) and rows.setdefault(record.image, record.row) != record.row:
            both = f"{rows[record.image]} and {record.row}"
            problem = f"{record.image:.80}: expected one image of this name, got {both}; skipped"
            record = Issue(record.line, problem, record.image, record.row)
        yield record


def split_in_name(path: Path) -> str | None:
    """Return the split in a file name such as captions_train2014.json, or None without exactly one."""
    splits = {SPLITS.get(split, split) for split in _SPLIT.findall(path.stem.lower())}
    return splits.pop() if len(splits) == 1 else None


def read_list(path: Path) -> list[str]:
    """Read image names from a file with one per line, such as Flickr_8k.trainImages.txt.

    Raises: DataError when the file cannot be read.
    """
    return [
        image_name(line)
        for line in re.split(r"[\r\n]", read_text(path, "a file with an image name per line"))
        if line.strip()
    ]


def _parse(path: Path, text: str, columns: Columns, split: str | None) -> Iterator[CaptionRecord | Issue]:
    start, is_token = text.lstrip()[:1], TOKEN.match(text.lstrip()) is not None
    may_be_json = start in ("{", "[") and path.suffix.lower() not in (".jsonl", ".ndjson")
    content = _json(path, text) if may_be_json else None
    if columns != Columns() and (is_token or (isinstance(content, dict) and isinstance(content.get("images"), list))):
        options = "--image-column, --caption-column and --split-column"
        raise UsageError(f"{path}: {options} have no effect on this format; leave them out")
    if content is not None:
        return _annotations(path, content, columns, split)
    if start == "{":
        return json_lines(path.name, text, columns)
    if is_token:
        return token_txt(path.name, text)
    if not text.strip():
        raise DataError(f"{path}: {EXPECTED}, got an empty file")
    return table(path.name, text, columns)


def _json(path: Path, text: str) -> Any:
    """Parse a JSON document; return None for JSON lines."""
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        try:
            first = json.loads(re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0])
        except (ValueError, RecursionError):
            raise DataError(f"{path}: invalid JSON: {error}") from error
        if isinstance(first, dict):
            return None
        raise DataError(f"{path}: {EXPECTED}, got JSON lines of type {type(first).__name__}") from error


def _annotations(path: Path, content: Any, columns: Columns, split: str | None) -> Iterator[CaptionRecord | Issue]:
    match content:
        case {"images": list(), "annotations": list()}:
            return coco(path.name, content, split or split_in_name(path))
        case {"images": list()}:
            return karpathy(path.name, content)
        case dict() if columns.image in content:  # JSON lines with one line
            return json_entry(f"{path.name}:1", content, columns)
        case [dict(), *_]:
            return chain.from_iterable(
                json_entry(f"{path.name}: [{number}]", entry, columns) for number, entry in enumerate(content)
            )
        case dict():
            keys = ", ".join(map(quoted, list(content)[:8]))
            raise DataError(f"{path}: {EXPECTED}, got a JSON object with {f'the keys {keys}' if keys else 'no keys'}")
        case _:
            raise DataError(f"{path}: {EXPECTED}, got a JSON {type(content).__name__}")


def _validate(record: CaptionRecord) -> CaptionRecord | Issue:
    """Check that the texts are valid UTF-8, and normalize the image name."""
    names = {"split": record.split or "", "source": record.source or ""}
    for field, text in {"image": record.image, "caption": record.text, **names}.items():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            bad = text[error.start]
            byte = bad.encode("utf-8", "surrogateescape") if 0xDC80 <= ord(bad) <= 0xDCFF else bad
            problem = f"{field}: expected UTF-8 text, got {byte!r}; save the file as UTF-8"
            return Issue(record.line, problem, record.image, record.row)
    image = image_name(record.image)
    if "\0" in image or image.endswith("/"):
        return Issue(record.line, f"image: expected a name, got {quoted(image)}")
    return record._replace(image=image)
