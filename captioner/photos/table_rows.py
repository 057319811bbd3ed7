"""The rows of a table of captions, in CSV or JSON lines: stamps, paths and formats."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from captioner.captioning.caption import COLUMNS, TABLE_COLUMNS, Caption, to_record
from captioner.data import table_cells
from captioner.errors import DataError, UsageError
from captioner.files.user_files import format_of, regular_file, to_json

DELIMITERS = ",;\t"
OWN_CELL = r'("([^"]|"")*"|[-+.0-9e]+)'
"""A cell as captioner writes it; other programs leave texts without quotes, and empty cells empty."""
IN_NO_PATH = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
"""Characters that no path has; for bytes that are not UTF-8, os.fsdecode returns other surrogates."""
OWN_KEYS = {*COLUMNS, "shares", "file", "corrected"}
"""The keys of JSON lines that a new caption replaces or removes."""
START = 1 << 20
"""Bytes in which the first line of a table ends: JSON lines may have attention weights."""


def time_of(status: os.stat_result) -> str:
    """Return the time of a file for a stamp: UTC, in seconds."""
    try:
        time = datetime.fromtimestamp(int(status.st_mtime), UTC)
    except (ValueError, OverflowError):  # beyond the year 9999
        time = datetime.max
    return time.isoformat()[:19].translate({ord("-"): None, ord(":"): None}) + "Z"


real_folder = cache(os.path.realpath)


def place_of(photo: str | os.PathLike[str]) -> str:
    """Return the one absolute path of a photograph, however it was named."""
    folder, name = os.path.split(photo)
    return os.path.join(real_folder(os.path.join(os.getcwd(), folder)), name)


class CsvRows(NamedTuple):
    """CSV with the columns, the separator and the line ends of an existing table."""

    columns: Sequence[str] = (*TABLE_COLUMNS, "file")
    delimiter: str = ","
    line_end: str = "\r\n"

    @property
    def start(self) -> str:
        """What a new table begins with."""
        # Excel needs the byte order mark
        return f"\ufeff{table_cells.csv_line(self.columns, self.delimiter, self.line_end)}"

    def recognize(self, text: str) -> CsvRows | None:
        """Return the format of a table by its beginning, or None for one without the needed columns."""
        line_end = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
        for delimiter in DELIMITERS:
            with suppress(csv.Error):  # of a file whose only line ends are carriage returns
                columns = next(csv.reader(io.StringIO(text, newline="\n"), delimiter=delimiter), [])
                if all(columns.count(name) == 1 for name in table_cells.NEEDED):
                    return CsvRows(tuple(columns), delimiter, line_end)
        return None

    def read(self, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
        """Read the rows in the lines after `start`: `image` is a path. A line without a row has an empty one.

        Such lines are empty or a further header, or, without a stamp, blank or a remark that begins with #.

        Raises: ValueError or csv.Error for a line that is no row.
        """
        for cells in csv.reader(lines, delimiter=self.delimiter, strict=True):
            row = dict(zip(self.columns, map(table_cells.unescape_cell, cells), strict=False))
            image, stamp = row.get("image", ""), row.get("file", "").strip()
            is_other = not image or stamp == "file" or (not stamp and image.strip()[:1] in ("", "#"))
            yield {} if is_other else {**row, "image": table_cells.unescape_path(image)}

    def is_cut(self, line: str) -> bool:
        """Return whether a last line without its end may be the beginning of one of `line`, without a whole stamp."""
        cells = list[str]()
        with suppress(csv.Error):
            cells = next(csv.reader([line], delimiter=self.delimiter, strict=True), [])
        is_whole = len(cells) >= len(self.columns) and not line.endswith(self.delimiter)
        own = rf'({OWN_CELL}{self.delimiter})*({OWN_CELL}|"([^"]|"")*)?\r?'
        return not is_whole and not any(map(table_cells.parse_stamp, cells)) and bool(re.fullmatch(own, line))

    def restored(self, row: Mapping[str, Any]) -> str:
        """Return the line of a row that was read in a table with other columns."""
        values = {**row, "image": table_cells.escape_path(row["image"])}
        return table_cells.csv_line((values.get(name, "") for name in self.columns), self.delimiter, self.line_end)

    def line(self, image: str, caption: Caption, stamp: table_cells.Stamp, old: str = "") -> str:
        """Return the line of a photograph, with the cells of other columns in an old line."""
        values = {name: cell(caption) for name, cell in TABLE_COLUMNS.items()}
        values |= {"image": table_cells.escape_path(image), "file": str(stamp)}
        cells = next(csv.reader(io.StringIO(old, newline=""), delimiter=self.delimiter), [])
        pairs = zip_longest(self.columns, map(table_cells.OwnCell, cells), fillvalue="")
        return table_cells.csv_line((values.get(name, cell) for name, cell in pairs), self.delimiter, self.line_end)


class JsonLines(NamedTuple):
    """JSON lines: the records of `--json`, with the expected shares of words and the stamp. Methods as `CsvRows`."""

    start: str = ""
    line_end: str = "\n"

    def recognize(self, text: str) -> JsonLines | None:
        with suppress(ValueError, TypeError, RecursionError):
            return self if set(json.loads(text.partition("\n")[0])) >= set(table_cells.NEEDED) else None
        return None

    def read(self, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
        for line in lines:
            record = json.loads(line) if line.strip() else {}
            if not isinstance(record, dict) or (record and not isinstance(record.get("image"), str)):
                raise ValueError('expected an object with an "image"')
            yield record

    def is_cut(self, line: str) -> bool:
        with suppress(ValueError, RecursionError):
            json.loads(line)
            return False
        return True

    def corrected(self, correction: table_cells.Description, line: bytes) -> bytes:
        """Return a line with a correction of another table, as if it were its own; new keywords are certain."""
        record = json.loads(line.decode("utf-8-sig"))
        old = record.get("keywords")
        items = old if isinstance(old, list) else []
        keywords = {word: each for each in items for word in table_cells.words_of([each])}
        record["keywords"] = [keywords.get(word, {"word": word, "share": 1.0}) for word in correction.keywords]
        record |= {"caption": correction.caption, "corrected": True}
        if stamp := table_cells.parse_stamp(record.get("file")):
            record["file"] = str(stamp._replace(caption=table_cells.description_digest(correction)))
        return f"{json.dumps(record)}\n".encode()

    def line(self, image: str, caption: Caption, stamp: table_cells.Stamp, old: str = "") -> str:
        items = json.loads(old.partition("\n")[0] or "{}").items()
        first = {"image": image, "caption": caption.text, "file": str(stamp)}
        shares = dict(caption.shares)
        record = {**first, **to_record(caption._replace(image=image)), "shares": shares}
        return f"{to_json(record | {key: value for key, value in items if key not in OWN_KEYS})}\n"


Rows: TypeAlias = CsvRows | JsonLines
TABLE_FORMATS: Mapping[str, Rows] = {".csv": CsvRows(), ".jsonl": JsonLines()}
"""The formats of new tables by their suffix."""
BEGINNING = b'{"image": "'
"""How a first line of JSON lines begins."""


def open_format(path: Path, name: Path) -> Rows:
    """Return the format of an existing table.

    A file that is empty, or was cut in its first line, is a new table.

    Raises: UsageError for a file that is none.
    """
    new = TABLE_FORMATS[path.suffix.lower()]
    with regular_file(name, error=UsageError) as descriptor:
        start = os.read(descriptor, START)
    if new.start.encode().startswith(start):
        return new
    if form := new.recognize(start.decode("utf-8-sig", "replace")):
        return form
    is_cut = start[: len(BEGINNING)] == BEGINNING[: len(start)] and b"\n" not in start
    if is_cut and isinstance(new, JsonLines):
        return new
    expected = f"a table of `captioner caption`, with {', '.join(table_cells.NEEDED)}"
    got, remedy = "other columns" if b"image" in start and b"caption" in start else format_of(start), "use another file"
    if start.removeprefix(BOM_UTF8).startswith(b"sep="):
        got, remedy = "sep= above them", "delete this line"
    raise UsageError(f"{name}: expected {expected}, got {got}; {remedy}")


class TableRow(NamedTuple):
    """A row of a table, the absolute path of its photograph, and where its lines start and end.

    Other lines, such as the header, have no values and no path.
    """

    path: str
    values: Mapping[str, Any]
    start: int
    end: int


def read_rows(path: Path, name: Path, form: Rows) -> Iterator[TableRow]:
    """Read the rows of a table, and the lines between them.

    A last line without its end that was cut is left out, unless it is inside of a cell.

    Raises: DataError for another damaged line, or if the file cannot be read.
    """
    number = start = end = 0

    def lines() -> Iterator[str]:
        nonlocal number, end
        for number, line in enumerate(file, 1):
            has_end, text = line.endswith(b"\n"), ""
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as problem:
                if has_end or problem.reason != "unexpected end of data":
                    raise
            if not has_end and start == end and form.is_cut(text):
                return
            end += len(line)
            yield text

    with regular_file(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        rows = lines()
        try:
            if isinstance(form, CsvRows):
                next(csv.reader(rows, delimiter=form.delimiter), [])
                yield TableRow("", {}, start, end)
                start = end
            for values in form.read(rows):
                image = values.get("image", "")
                if IN_NO_PATH.search(image):
                    raise ValueError("expected a path in image")
                photo = place_of(os.path.join(path.parent, image)) if image else ""
                yield TableRow(photo, values if photo else {}, start, end)
                start = end
        except (ValueError, csv.Error, RecursionError) as problem:
            what = "expected UTF-8 text; save it as UTF-8" if isinstance(problem, UnicodeError) else problem
            raise DataError(f"{name}: line {number}: {what}; nothing was changed") from None
