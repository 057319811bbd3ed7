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
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from captioner.captioning.caption import COLUMNS, TABLE_COLUMNS
from captioner.data.table_cells import (
    NEEDED,
    OwnCell,
    csv_line,
    escape_path,
    unescape_cell,
    unescape_path,
    words_of,
)
from captioner.errors import DataError, UsageError, quoted
from captioner.files.atomic import write_file
from captioner.files.user_files import check_output, format_of, read_bytes
from captioner.photos.album import NOWHERE, Album, Cells, Description, Entry

MAX_BYTES = 1 << 30
DELIMITERS = (",", ";", "\t")
OTHERS = "+"
"""What follows the SHA-256 of a table with rows of no photograph in the album: it may be captioned later, and a person
may have corrected the row.
"""
CELLS: Mapping[str, Callable[[Entry], str | float]] = {
    "image": lambda entry: "",  # its path, which depends on the folder of the file
    "caption": lambda entry: entry.caption.text,
    "keywords": lambda entry: _words(entry.caption.keywords),
    "marks": lambda entry: ", ".join(entry.caption.marks) if entry.by_person is None else entry.by_person,
    "similarity": lambda entry: TABLE_COLUMNS["similarity"](entry.caption) if entry.correction is None else "",
    "generated_caption": lambda entry: entry.generated.text,
    "generated_keywords": lambda entry: _words(entry.generated.keywords),
    "id": lambda entry: "",  # with the number of its last correction, and the album
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
    csv.field_size_limit(MAX_BYTES)
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


def take_corrections(album: Album, table: Table, missing: bool = True) -> tuple[int, list[str]]:
    """Add what a person wrote in a table to an album, and record that the table was read; return how many corrections,
    and what could not be taken, with `missing` also the rows of no photograph.

    A cell that is as the table was written, or as it was read before, is no correction, though the album may have
    another text since.
    """
    count, problems, others, edits = 0, list[str](), "", dict[str, Cells]()
    with album.transaction():
        known, rows = album.edits(_place(table)), Counter[str]()
        for row in table.rows:
            where, image = f"{table.path}:{row.line}", row.values["image"]
            entries = _find(album, table, row)
            if not entries:
                others = OTHERS
                if missing and image.strip() and row.values.get("caption", "").strip():
                    problems.append(f"{where}: {image}: not in the album; the row is kept")
                continue
            entry, written = entries[0], _written(album, entries[0], row)
            cells = [" ".join(row.values.get("caption", "").split()), words_of(row.values.get("keywords", ""))]
            key = image or entry.id
            rows[key] += 1
            key += f" {rows[key]}" * (rows[key] > 1)  # a row may be copied, and one of the two edited
            if cells != written.cells:
                edits[key] = cells
            before = written.cells if known is None else known.get(key, written.cells)
            caption, keywords = (new if new != old else None for new, old in zip(cells, before, strict=True))
            if known is None or not written.is_known:  # a copy of a table that was read
                caption = None if caption in written.captions else caption
                keywords = None if keywords in written.lists else keywords
            if caption == "":
                problems.append(
                    f"{where}: {image}: the caption was removed; the album keeps {quoted(entry.caption.text)}"
                )
            current: Description = entry.caption.text, [keyword.word for keyword in entry.caption.keywords]
            new: Description = str(caption or current[0]), current[1] if keywords is None else keywords
            if new != current:
                if written.is_changed:
                    shown = [text if new[0] != current[0] else ", ".join(words) for text, words in (new, current)]
                    problems.append(
                        f"{where}: {image}: {quoted(shown[0])} replaces {quoted(shown[1])}, which a person wrote too"
                    )
                is_generated = new == (entry.generated.text, [keyword.word for keyword in entry.generated.keywords])
                album.correct(entry.id, None if is_generated else new, str(table.path))
                count += 1
        if table.digest is not None:
            album.exported(_place(table), table.digest + others, edits)
    return count, problems


class Written(NamedTuple):
    """The caption and keywords of a row when it was written, whether the album wrote it, and whether a person wrote
    another text since; the captions and keywords that a person may have written in another copy of the table.
    """

    cells: Cells
    is_known: bool
    is_changed: bool
    captions: Collection[Any]
    lists: Collection[Any]


def _written(album: Album, entry: Entry, row: Row) -> Written:
    """Return what the album knows of a row by its id; without one, all texts of the photograph are none of a person."""
    corrections, generated = album.history(entry.id)
    match = re.fullmatch(f"{entry.id}-([0-9]{{1,18}})-{album.id}", row.values.get("id", "").strip())
    last = int(match[1]) if match else 0
    since = [each for each in corrections if each.number > last]
    others = [  # with an id, only those of tables: what the page alone had is in no copy of a table
        each.description for each in since if each.description and (not match or each.origin.lower().endswith(".csv"))
    ]
    captions, lists = [text for text, _ in others], [[*words] for _, words in others]
    if not match:
        captions += [text for text, _ in generated]
        lists += [[], *([*words] for _, words in generated)]
    before = corrections[: len(corrections) - len(since)]
    own: Description = row.values.get("generated_caption", ""), words_of(row.values.get("generated_keywords", ""))
    is_own = (
        own in [(text, [*words]) for text, words in generated] if match else own[0] in [text for text, _ in generated]
    )
    if not is_own and (match or not row.values.get("id")):  # a person edited it too, as by Find & Replace
        own = entry.generated.text, [keyword.word for keyword in entry.generated.keywords]
    text, words = before[-1].description or own if before else own
    is_changed = bool(since) if match else entry.correction is not None
    return Written([" ".join(text.split()), [*words]], match is not None, is_changed, captions, lists)


def _place(table: Table) -> Path:
    return Path(os.path.realpath(table.path.parent), table.path.name)


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
        values["id"] = f"{entry.id}-{entry.revision}-{album.id}"
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
    album.exported(_place(table), hashlib.sha256(content).hexdigest() + others)
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
