"""Tables of captions: CSV and TSV with a header, Flickr's token.txt, and JSON lines; one caption a line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from captioner.data.readers.records import CaptionRecord, Columns, Issue, parse_json
from captioner.errors import DataError
from captioner.printable import quoted

DELIMITERS = (",", "\t", ";", "|")
SEPARATOR = re.compile(r"(?P<blank>\s*)sep=(?P<separator>[,\t;|])[^\S\r\n]*(?=[\r\n])", re.IGNORECASE)
"""The first line that spreadsheets write, or ask for."""
LONGEST_FIELD = 1 << 20
MOST_LINES = 100
"""Of a record; without a bound, quotes gone wrong can make each line reach for the end of the file."""
TOKEN = re.compile(r"(?P<image>[^\t\r\n]+?)#\d+\t(?P<caption>.*)")


def table(name: str, text: str, columns: Columns) -> Iterator[CaptionRecord | Issue]:
    """CSV, TSV, or whatever separator the header has: `image,caption`, and a split where that column is there.

    Raises: DataError when the header does not name the columns.
    """
    said = SEPARATOR.match(text)
    if said:  # blank lines are none, and the others keep their numbers
        text = said["blank"] + text[said.end() :]
    header = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    delimiter = said["separator"] if said else max(DELIMITERS, key=header.count)
    records = _records(text, delimiter)
    first, cells = next(records, (1, ""))
    names = [cell.strip() for cell in cells]
    places = _places(f"{name}:{first}", names, header, columns)
    for number, cells in records:
        line = f"{name}:{number}"
        if isinstance(cells, str):
            yield Issue(line, cells)
        else:
            yield _told(line, {key: cells[place] for key, place in places.items()})


def token_txt(name: str, text: str, columns: Columns) -> Iterator[CaptionRecord | Issue]:
    """Flickr8k.token.txt: `1000268201.jpg#0<TAB>A child in a pink dress .`"""
    for line, row in _lines(name, text):
        match = TOKEN.fullmatch(row)
        if match is None:
            yield Issue(line, f"expected IMAGE#NUMBER, a tab and a caption, got {quoted(row)}")
        else:
            yield _told(line, match.groupdict())


def json_lines(name: str, text: str, columns: Columns) -> Iterator[CaptionRecord | Issue]:
    """One object a line: `{"image": "a.jpg", "caption": "a dog"}`; `caption` may be a list of them."""
    for line, row in _lines(name, text):
        try:
            content = parse_json(row)
        except (ValueError, RecursionError) as error:
            yield Issue(line, f"expected JSON, got something else: {error}")
        else:
            yield from json_entry(line, content, columns)


def json_entry(line: str, content: object, columns: Columns) -> Iterator[CaptionRecord | Issue]:
    """The captions of one object, and of an empty list the flaw."""
    if not isinstance(content, dict):
        yield Issue(line, f"expected an object with {columns.image} and {columns.caption}, got {quoted(content)}")
        return
    values = {key: content.get(column) for column, key in _keys(columns)}
    captions = values["caption"]
    for caption in captions if isinstance(captions, list) and captions else [captions]:
        yield _told(line, {**values, "caption": caption})


FORMATS: dict[str, Callable[[str, str, Columns], Iterator[CaptionRecord | Issue]]] = {
    "csv": table,
    "token": token_txt,
    "jsonl": json_lines,
}


def _keys(columns: Columns) -> tuple[tuple[str, str], ...]:
    return (columns.image, "image"), (columns.caption, "caption"), (columns.split, "split")


def _places(line: str, names: list[str], header: str, columns: Columns) -> dict[str, int]:
    """Where the columns stand that are there; capitals matter only where two names are the same without them.

    Raises: DataError when a column is missing (that of the split may, where nobody names it), or stands twice.
    """
    places: dict[str, int] = {}
    for column, key in _keys(columns):
        found = [place for place, name in enumerate(names) if name == column]
        found = found or [place for place, name in enumerate(names) if name.lower() == column.lower()]
        if len(found) > 1:
            raise DataError(f"{line}: expected the column {column} once, got {header!r:.80}; rename the others")
        if found:
            places[key] = found[0]
    wanted = ["image", "caption"] + (["split"] if columns.split != Columns().split else [])
    if not set(wanted) <= set(places):
        raise DataError(
            f"{line}: expected a header with the columns {' and '.join(getattr(columns, key) for key in wanted)}, got "
            f"{header!r:.80}; name yours with --image-column and --caption-column"
        )
    return places


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    """The records of a table that are not blank, or what is wrong with them, and the numbers of their first lines.

    After one that is wrong, reading goes on in its second line, so that a quote that is never closed does not swallow
    what comes after it.
    """
    csv.field_size_limit(LONGEST_FIELD)
    file, number, width = io.StringIO(text, newline=""), 1, 0
    while True:
        start = file.tell()
        rows = csv.reader(islice(file, MOST_LINES), delimiter=delimiter, strict=True)
        problem = ""
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"cannot be read as CSV: {error}; close each quote that opens, and double those inside"
        else:
            if any(cell.strip() for cell in cells):
                width = width or len(cells)
                if len(cells) == width:
                    yield number, cells
                else:
                    problem = f"expected {width} columns, got {len(cells)}; quote captions that hold {delimiter!r}"
        if problem:
            yield number, problem
            file.seek(start)
            file.readline()
        number += 1 if problem else rows.line_num


def _lines(name: str, text: str) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(io.StringIO(text, newline=None), 1):
        if row.strip():
            yield f"{name}:{number}", row.removesuffix("\n")


def _told(line: str, values: dict[str, Any]) -> CaptionRecord | Issue:
    for key in ("image", "caption"):
        if not isinstance(values.get(key), str) or not values[key].strip():
            got = "nothing" if values.get(key) in (None, "") else quoted(values[key])
            return Issue(line, f"{key}: expected a text, got {got}")
    split = values.get("split")
    if split is not None and not isinstance(split, str):
        return Issue(line, f"split: expected a name, got {quoted(split)}")
    return CaptionRecord(values["image"].strip(), values["caption"].strip(), (split or "").strip() or None, line)
