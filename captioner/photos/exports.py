"""Exports of an album: whole tables that people read and edit, and what they corrected in them.

A row has the caption and the keywords that count, and the generated ones: a cell that differs from the generated one is
a correction, wherever the file was moved and whichever program saved it.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from captioner.captioning.caption import COLUMNS, TABLE_COLUMNS
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
OTHERS = "+"
"""What follows the SHA-256 of a table with rows of no photograph in the album: it may be captioned later, and a person may
have corrected the row.
"""
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
    values: Mapping[str, str]
    cells: Sequence[str]


class Table(NamedTuple):
    """A table as it is in a file, which has the SHA-256 `digest`; None if there is no file.

    `columns` has also those of a person.
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
    read = _read_csv(text, table)
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
                if "\0" in values["image"]:
                    raise DataError(
                        f"{table.path}: line {number + 1}: image: got a null character; nothing was changed"
                    )
                rows += [Row(number + 1, values, cells)] if any(cells) else []
                number = lines.line_num
        except csv.Error as error:
            if columns:
                raise DataError(f"{table.path}: line {lines.line_num}: {error}; nothing was changed") from None
            continue
        return table._replace(columns=columns, delimiter=delimiter, rows=rows)
    return None


def take_corrections(album: Album, table: Table, missing: bool = True) -> tuple[int, list[str], bool]:
    """Add what a person wrote in a table to an album; return how many corrections, what could not be taken, with
    `missing` also the rows of no photograph, and whether there are such rows.

    A cell that is as the table was written is no correction, though the album may have another text since.
    """
    count, problems, has_others = 0, list[str](), False
    for row in table.rows:
        where, image = f"{table.path}:{row.line}", row.values["image"]
        entries = _find(album, table, row)
        if not entries:
            has_others = True
            if missing and image.strip() and row.values.get("caption", "").strip():
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
    return count, problems, has_others


def _changes(album: Album, entry: Entry, row: Row) -> tuple[tuple[str | None, Sequence[str] | None], int | None]:
    """Return the caption and the keywords that a person wrote in a row, None where it is as it was written, and the
    number of the correction that counted then, if the row tells it; else texts that the photograph had are none.
    """
    id, _, number = row.values.get("id", "").partition("-")
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
    image = row.values["image"]
    at_path = [*album.entries([Path(os.path.realpath(table.path.parent), image)])] if image else []
    id = row.values.get("id", "").strip().partition("-")[0]
    entries = album.find(id) if id else at_path
    return sorted(entries, key=lambda entry: entry not in at_path)


def write_table(album: Album, table: Table, photos: Iterable[Path] | None) -> str:
    """Write a table of the photographs that it had and of `photos`, None for all, and return what was written.

    The rows, and the columns of a person, stay where they were; so do rows of no photograph of the album. A row goes if
    its photograph was forgotten.

    Raises: CaptionerError if it cannot be written. If the file has changed meanwhile, the table is written beside it.
    """
    columns = [*table.columns, *(name for name in CELLS if name not in table.columns)]  # after them those that it lacks
    folder, parts = os.path.realpath(table.path.parent), [csv_line(map(OwnCell, columns), table.delimiter)]
    seen, others = set[Path](), ""

    def line(entry: Entry, row: Row | None) -> str:
        seen.add(entry.path)
        values = {name: cell(entry) for name, cell in CELLS.items()}
        values["image"] = escape_path(os.path.relpath(entry.path, folder))
        pairs = zip_longest(columns, map(OwnCell, row.cells if row else ()), fillvalue=OwnCell())
        return csv_line((values.get(name, cell) for name, cell in pairs), table.delimiter)

    for row in table.rows:
        entries = _find(album, table, row)
        free = [entry for entry in entries if entry.path not in seen and entry.path != NOWHERE]
        if free:
            parts.append(line(free[0], row))
        elif not entries or _has_own(table, row):
            parts.append(csv_line(map(OwnCell, row.cells), table.delimiter))
            others = OTHERS
    parts += [line(entry, None) for entry in album.entries(photos) if entry.path not in seen]
    missing = sum(not os.path.lexists(path) for path in seen)
    content = "".join(parts).encode("utf-8-sig", "backslashreplace")  # Excel needs the byte order mark
    write_file(table.path, content, lambda: _digest(table.path) == table.digest)
    album.exported({Path(folder, table.path.name): hashlib.sha256(content).hexdigest() + others})
    gone = f", {missing:,} of them missing (captioner album --forget-missing)" if missing else ""
    return f"{table.path}: {len(seen):,} photograph{'s' * (len(seen) != 1)}{gone}"


def _has_own(table: Table, row: Row) -> bool:
    """Return whether a row has a cell in a column of a person."""
    pairs, known = zip_longest(table.columns, row.cells, fillvalue=""), {*CELLS, *COLUMNS}
    return any(cell for name, cell in pairs if name not in known)


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _words(keywords: Sequence[Any]) -> str:
    return ", ".join(keyword.word for keyword in keywords)
