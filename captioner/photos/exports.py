"""Exports of an album: whole tables that people read and edit, and what they corrected in them.

A row has the caption and the keywords that count, and the generated ones: a cell that differs from the generated one is
a correction, wherever the file was moved and whichever program saved it.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from captioner.captioning.caption import COLUMNS, TABLE_COLUMNS, to_record
from captioner.data.table_cells import (
    GENERATED,
    NEEDED,
    OwnCell,
    correction_of,
    csv_line,
    escape_path,
    unescape_cell,
    unescape_path,
)
from captioner.errors import DataError, UsageError, quoted
from captioner.files.atomic import write_file
from captioner.files.user_files import check_output, format_of, read_bytes
from captioner.photos.album import NOWHERE, Album, Entry

MAX_BYTES = 1 << 30
DELIMITERS = (",", ";", "\t")
CELLS: Mapping[str, Callable[[Entry], str | float]] = {
    "image": lambda entry: "",  # its path, which depends on the folder of the file
    "caption": lambda entry: entry.caption.text,
    "keywords": lambda entry: _words(entry.caption.keywords),
    "marks": lambda entry: ", ".join(entry.caption.marks),
    "similarity": lambda entry: TABLE_COLUMNS["similarity"](entry.caption) if entry.correction is None else "",
    "generated_caption": lambda entry: entry.generated.text,
    "generated_keywords": lambda entry: _words(entry.generated.keywords),
    "id": lambda entry: f"{entry.id}-{entry.revision}",
}
"""The columns of a table; a person may add others."""


class Row(NamedTuple):
    """A row of a table: its line, its values by column, and its cells as they are in the file."""

    line: int
    values: Mapping[str, Any]
    cells: Any


class Table(NamedTuple):
    """A table as it is in a file, which has the SHA-256 `digest`; None if there is no file.

    `columns` are those of CSV, also of a person; those of JSON lines are the keys of each line.
    """

    path: Path
    digest: str | None = None
    columns: Sequence[str] = tuple(CELLS)
    delimiter: str = ","
    rows: Sequence[Row] = ()


def read_table(path: Path) -> Table:
    """Read a table, or return an empty one if there is no file, or an empty one.

    Raises: UsageError for a file that is no export of an album; DataError for a damaged row.
    """
    check_output(path, overwrite=True)
    path = Path(os.path.realpath(path)) if path.is_symlink() else path  # a table is written where its link leads
    if not path.exists():
        return Table(path)
    content = read_bytes(path, MAX_BYTES, expected="a table")
    table = Table(path, hashlib.sha256(content).hexdigest())
    encoding = "utf-16" if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: line {line}: expected UTF-8 text; save it as UTF-8; nothing was changed") from None
    if not text.strip():
        return table
    read = TABLE_FORMATS[path.suffix.lower()].read(text, table)
    if read is None:
        raise UsageError(
            f"{path}: expected a table of `captioner caption`, with {', '.join(NEEDED)}, got "
            f"{format_of(content)} without them; use another file"
        )
    return read


def _read_csv(text: str, table: Table) -> Table | None:
    for delimiter in DELIMITERS:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns, rows, number = list[str](), list[Row](), 1
        try:
            columns = [cell.strip() for cell in next(lines)]
            if any(columns.count(name) != 1 for name in NEEDED):
                continue
            for cells in lines:
                values = dict(zip(columns, map(unescape_cell, cells), strict=False))
                values["image"] = unescape_path(values.get("image", ""))
                _check_texts(table, number + 1, values)
                rows += [Row(number + 1, values, cells)] if any(cells) else []
                number = lines.line_num
        except csv.Error as error:
            if columns:
                raise DataError(f"{table.path}: line {lines.line_num}: {error}; nothing was changed") from None
            continue
        return table._replace(columns=columns, delimiter=delimiter, rows=rows)
    return None


def _read_lines(text: str, table: Table) -> Table | None:
    rows = list[Row]()
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                if not rows:
                    return None
                raise DataError(f"{table.path}: line {number}: {error}; nothing was changed") from None
            if not rows and (not isinstance(record, dict) or not set(NEEDED) <= record.keys()):
                return None
            rows.append(Row(number, record if isinstance(record, dict) else {}, record))
            _check_texts(table, number, rows[-1].values)
    return table._replace(rows=rows)


def _check_texts(table: Table, number: int, values: Mapping[str, Any]) -> None:
    """Raises: DataError for an image that is no path, or a text that is not Unicode."""
    image, others = values.get("image"), [value for name, value in values.items() if name != "image"]
    try:
        if isinstance(image, str) and b"\0" in os.fsencode(image):
            raise ValueError("image: expected a path, got a null character")
        json.dumps(others, ensure_ascii=False).encode()
    except ValueError as error:
        raise DataError(f"{table.path}: line {number}: {error}; nothing was changed") from None


def take_corrections(album: Album, table: Table, missing: bool = True) -> tuple[int, list[str]]:
    """Add what a person wrote in a table to an album; return how many corrections, and what could not be taken, with
    `missing` also the rows of no photograph.

    A cell that is as the table was written is no correction, though the album may have another text since.
    """
    count, problems = 0, list[str]()
    for row in table.rows:
        where, image = f"{table.path}:{row.line}", str(row.values.get("image") or "")
        entries = _find(album, table, row)
        if not entries:
            if missing and image.strip() and str(row.values.get("caption") or "").strip():
                problems.append(f"{where}: {image}: not in the album; the row is kept")
            continue
        entry, (caption, keywords), revision = entries[0], *_changes(album, entries[0], row)
        if caption == "":
            problems.append(f"{where}: {image}: the caption was removed; the album keeps {quoted(entry.caption.text)}")
        current = entry.caption.text, [keyword.word for keyword in entry.caption.keywords]
        new = caption or current[0], current[1] if keywords is None else [*keywords]
        if new != current:
            if revision not in (None, entry.revision):
                shown = [text if new[0] != current[0] else ", ".join(words) for text, words in (new, current)]
                problems.append(
                    f"{where}: {image}: {quoted(shown[0])} replaces {quoted(shown[1])}, which a person wrote too"
                )
            if new == (entry.generated.text, [keyword.word for keyword in entry.generated.keywords]):
                album.take_back(entry.id)
            else:
                album.correct(entry.id, new, str(table.path))
            count += 1
    return count, problems


def _changes(album: Album, entry: Entry, row: Row) -> tuple[tuple[str | None, Sequence[str] | None], int | None]:
    """Return the caption and the keywords that a person wrote in a row, None where it is as it was written, and the
    number of the correction that counted then, if the row tells it; else texts that the photograph had are none.
    """
    id, _, number = str(row.values.get("id") or "").partition("-")
    revision = int(number) if id == entry.id and re.fullmatch("[0-9]{1,18}", number) else None
    written = album.revision(entry.id, revision) if revision else None
    if written is not None:
        values = {**row.values, **dict(zip(GENERATED, written, strict=True))}
        return correction_of(values), revision
    captions, lists = album.history(entry.id)
    values = dict(row.values)
    if values.get("generated_caption") not in captions:  # a person edited it too, as by Find & Replace
        words = [keyword.word for keyword in entry.generated.keywords]
        values |= zip(GENERATED, (entry.generated.text, words), strict=True)
    caption, keywords = correction_of(values)
    if revision != 0:
        caption = None if caption in captions else caption
        keywords = None if not keywords or tuple(keywords) in lists else keywords
    return (caption, keywords), revision


def _find(album: Album, table: Table, row: Row) -> list[Entry]:
    """Return the entries of the photograph of a row, that of its path first."""
    image = row.values.get("image")
    at_path = [*album.entries([_path(table, image)])] if isinstance(image, str) and image else []
    id = str(row.values.get("id") or "").strip().partition("-")[0]
    entries = album.find(id) if id else at_path
    return sorted(entries, key=lambda entry: entry not in at_path)


def _path(table: Table, image: str) -> Path:
    return Path(os.path.realpath(table.path.parent), image)


def write_table(album: Album, table: Table, photos: Iterable[Path] | None) -> str:
    """Write a table of the photographs that it had and of `photos`, None for all, and return what was written.

    The rows, and the columns of a person, stay where they were; so do rows of no photograph of the album. A row goes if
    its photograph was forgotten.

    Raises: CaptionerError if it cannot be written. If the file has changed meanwhile, the table is written beside it.
    """
    form, folder = TABLE_FORMATS[table.path.suffix.lower()], os.path.realpath(table.path.parent)
    parts, seen = [form.start(table)], set[Path]()

    def line(entry: Entry, row: Row | None) -> str:
        seen.add(entry.path)
        return form.line(table, entry, escape_path(os.path.relpath(entry.path, folder)), row)

    for row in table.rows:
        entries = _find(album, table, row)
        free = [entry for entry in entries if entry.path not in seen and entry.path != NOWHERE]
        if free:
            parts.append(line(free[0], row))
        elif not entries or _has_own(table, row):
            parts.append(form.keep(table, row))
    parts += [line(entry, None) for entry in album.entries(photos) if entry.path not in seen]
    missing = sum(not os.path.lexists(path) for path in seen)
    content = "".join(parts).encode(form.encoding, "backslashreplace")
    write_file(table.path, content, lambda: _digest(table.path) == table.digest)
    album.exported({Path(folder, table.path.name): hashlib.sha256(content).hexdigest()})
    gone = f", {missing:,} of them missing (captioner album --forget-missing)" if missing else ""
    return f"{table.path}: {len(seen):,} photograph{'s' * (len(seen) != 1)}{gone}"


def _has_own(table: Table, row: Row) -> bool:
    """Return whether a row has a cell in a column of a person."""
    pairs = row.values.items() if isinstance(row.cells, dict) else zip_longest(table.columns, row.cells, fillvalue="")
    known = {*CELLS, *COLUMNS}
    return any(cell for name, cell in pairs if name not in known)


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _csv_start(table: Table) -> str:
    return csv_line(map(OwnCell, _columns(table)), table.delimiter)


def _columns(table: Table) -> list[str]:
    """Return the columns of a table, and after them those that it lacks."""
    return [*table.columns, *(name for name in CELLS if name not in table.columns)]


def _csv_row(table: Table, entry: Entry, image: str, row: Row | None) -> str:
    values = {**{name: cell(entry) for name, cell in CELLS.items()}, "image": image}
    own = [*map(OwnCell, row.cells)] if row else []
    cells = (values.get(name, cell) for name, cell in zip_longest(_columns(table), own, fillvalue=OwnCell()))
    return csv_line(cells, table.delimiter)


def _csv_keep(table: Table, row: Row) -> str:
    return csv_line(map(OwnCell, row.cells), table.delimiter)


def _json_row(table: Table, entry: Entry, image: str, row: Row | None) -> str:
    own = dict(row.values) if row else {}
    words = [keyword.word for keyword in entry.generated.keywords]
    generated = dict(zip(GENERATED, (entry.generated.text, words), strict=True))
    record = to_record(entry.caption._replace(image=unescape_path(image)))
    return f"{json.dumps({**own, **record, **generated, 'id': CELLS['id'](entry)})}\n"


class Format(NamedTuple):
    """A format of tables: how it is read, and what begins a file, a row, and a row that is kept as it was."""

    read: Callable[[str, Table], Table | None]
    start: Callable[[Table], str]
    line: Callable[[Table, Entry, str, Row | None], str]
    keep: Callable[[Table, Row], str]
    encoding: str


TABLE_FORMATS: Mapping[str, Format] = {
    ".csv": Format(_read_csv, _csv_start, _csv_row, _csv_keep, "utf-8-sig"),  # Excel needs the byte order mark
    ".jsonl": Format(_read_lines, lambda _: "", _json_row, lambda _, row: f"{json.dumps(row.cells)}\n", "utf-8"),
}
"""The formats of tables by their suffix."""


def _words(keywords: Sequence[Any]) -> str:
    return ", ".join(keyword.word for keyword in keywords)
