"""The album: tables of captions that grow, photograph by photograph, and go on where they stopped.

A table is CSV or JSON lines, a row for each photograph. Its state is in its rows: the column `file` has what a
photograph and its caption were when the row was written, so that the same command captions what is new or changed.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from captioner.captioning.caption import Caption, Description, to_record
from captioner.captioning.metadata import Sidecars
from captioner.captioning.output_files import COLUMNS, csv_line, unescape_cell
from captioner.errors import CaptionerError, DataError, UsageError
from captioner.files.atomic import remove_temporary_files, replacing, writing
from captioner.files.lock import LockFile
from captioner.files.user_files import check_output, format_of, regular_file, sha256_of, to_json

DIGITS = 8
"""Hexadecimal digits of a digest in a table."""
_STAMP = re.compile(r"([0-9]{1,19}) bytes ([0-9]{8}T[0-9]{6}Z)" + 3 * rf" ([0-9a-f]{{{DIGITS}}})")
_ESCAPED, _UNESCAPED = re.compile(rb"\\x([0-9a-f]{2})"), re.compile("[\\\\\x00-\x1f\x7f-\x9f\udc80-\udcff]")
NEEDED = ("image", "caption", "file")
"""The columns without which a table is none of an album."""
CSV_COLUMNS = (*COLUMNS, "file")
DELIMITERS = ",;\t"
START = 1 << 20
"""Bytes in which the first line of a table ends: JSON lines may have attention weights."""


class Stamp(NamedTuple):
    """The column `file` of a table: size and time of the photograph, and digests of it, the caption and the model.

    It is one text that spreadsheets leave alone. A row whose caption has another digest, or whose stamp cannot be read,
    was corrected by a person.
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


def is_corrected(caption: str, stamp: Stamp | None) -> bool:
    """Return whether a person corrected the caption of a row."""
    return stamp is None or stamp.caption != digest_of(caption)


def digest_of(text: str) -> str:
    """Return the digest of a text for a stamp."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:DIGITS]


def time_of(status: os.stat_result) -> str:
    """Return the time of a file for a stamp: UTC, in seconds."""
    return datetime.fromtimestamp(int(status.st_mtime), UTC).strftime("%Y%m%dT%H%M%SZ")


def escape_path(path: str) -> str:
    r"""Return a path as text on one line: control characters, backslashes and bytes that are not UTF-8 become \xNN."""
    return _UNESCAPED.sub(lambda match: "".join(rf"\x{byte:02x}" for byte in os.fsencode(match[0])), path)


def unescape_path(text: str) -> str:
    """Return the path that `escape_path` returned as text."""
    return os.fsdecode(_ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), os.fsencode(text)))


real_folder = cache(os.path.realpath)


def place_of(photo: str | os.PathLike[str]) -> str:
    """Return the one absolute path of a photograph, however it was named."""
    folder, name = os.path.split(photo)
    return os.path.join(real_folder(os.path.join(os.getcwd(), folder)), name)


class Rows(Protocol):
    """The format of a table."""

    @property
    def start(self) -> str:
        """What a new table begins with: the header of CSV."""

    @property
    def line_end(self) -> str: ...

    def is_whole(self, line: str) -> bool:
        """Return whether a line without its end has everything else."""

    def read(self, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
        """Read the rows in the lines of a file: `image` is a path. A line without a row has an empty one.

        Raises: ValueError or csv.Error for a line that is no row.
        """

    def line(self, image: str, caption: Caption, stamp: Stamp) -> str:
        """Return the line of a photograph."""


class CsvRows(NamedTuple):
    """CSV with the columns, the separator and the line ends of an existing table."""

    columns: Sequence[str] = CSV_COLUMNS
    delimiter: str = ","
    line_end: str = "\r\n"

    @property
    def start(self) -> str:
        return f"\ufeff{csv_line(self.columns, self.delimiter, self.line_end)}"  # Excel needs the byte order mark

    def is_whole(self, line: str) -> bool:
        try:
            (cells,) = csv.reader([line], delimiter=self.delimiter, strict=True)
        except (ValueError, csv.Error):
            return False
        # `csv_line` quotes an empty cell: what ends with a separator was cut before the last one
        is_cut = '"' in line and line.endswith(self.delimiter)
        return len(cells) == len(self.columns) and not is_cut

    def read(self, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
        for cells in csv.reader(lines, delimiter=self.delimiter, strict=True):
            row = dict(zip(self.columns, map(unescape_cell, cells), strict=False))
            yield {**row, "image": unescape_path(row["image"])} if row.get("image") else {}

    def line(self, image: str, caption: Caption, stamp: Stamp) -> str:
        values = {name: column(caption) for name, column in COLUMNS.items()}
        values |= {"image": escape_path(image), "file": str(stamp)}
        return csv_line((values.get(name, "") for name in self.columns), self.delimiter, self.line_end)


class JsonLines(NamedTuple):
    """JSON lines: the records of `--json`, with the expected shares of words and the stamp."""

    start: str = ""
    line_end: str = "\n"

    def is_whole(self, line: str) -> bool:
        try:
            return isinstance(json.loads(line), dict)
        except (ValueError, RecursionError):
            return False

    def read(self, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
        for line in lines:
            record = json.loads(line) if line.strip() else {}
            if not isinstance(record, dict) or (record and not isinstance(record.get("image"), str)):
                raise ValueError('expected an object with an "image"')
            yield record

    def line(self, image: str, caption: Caption, stamp: Stamp) -> str:
        first = {"image": image, "caption": caption.text, "file": str(stamp)}
        shares = dict(caption.shares)
        return f"{to_json({**first, **to_record(caption._replace(image=image)), 'shares': shares})}\n"


FORMATS: Mapping[str, Rows] = {".csv": CsvRows(), ".jsonl": JsonLines()}
"""The formats of new tables by their suffix."""


_BETWEEN_QUOTES = ("{", "image", ": ", "", ", ", "caption", ": ", "", ", ", "file")
"""The parts of a line of JSON lines between its quotes, up to the stamp; an empty one stands for any text."""


def _is_cut(line: str) -> bool:
    """Return whether a text is the start of a line of JSON lines, which was cut when it was written."""
    *parts, last = line.replace('\\"', "").split('"')
    rest = _BETWEEN_QUOTES[len(parts) :]
    are_equal = all(part == known for part, known in zip(parts, _BETWEEN_QUOTES, strict=False) if known)
    return are_equal and (not rest or not rest[0] or rest[0].startswith(last))


def _format_of(path: Path, name: Path) -> Rows:
    """Return the format of an existing table. Raises: UsageError for a file that is none."""
    new = FORMATS[path.suffix.lower()]
    with regular_file(path, error=UsageError) as descriptor:
        start = os.read(descriptor, START)
    if new.start.encode().startswith(start):  # empty, or its process was killed when it was created
        return new
    first, got = start.split(b"\n")[0].decode("utf-8-sig", "replace"), format_of(start)
    if isinstance(new, JsonLines):
        if b"\n" not in start and _is_cut(first):
            return new
        with suppress(ValueError, TypeError, RecursionError):
            if set(NEEDED) <= set(json.loads(first)):
                return new
        delimiters = ""
    else:
        delimiters = DELIMITERS
    for delimiter in delimiters:
        columns: Sequence[str] = ()
        with suppress(csv.Error):  # of a file whose only line ends are carriage returns
            columns = next(csv.reader([first.rstrip("\r")], delimiter=delimiter), ())
        if set(NEEDED) <= set(columns):
            return CsvRows(columns, delimiter, "\r\n" if first.endswith("\r") else "\n")
        if {"image", "caption"} <= set(columns):
            got = "a table without file: of `captioner sample`, or of an earlier version"
    expected = f"a table of `captioner caption`, with {', '.join(NEEDED)}"
    raise UsageError(f"{name}: expected {expected}, got {got}; use another file")


class Row(NamedTuple):
    """Where the row of a photograph is in a table, its stamp, and its caption if a person corrected it."""

    start: int
    end: int
    stamp: Stamp | None
    correction: str | None


State = tuple[int, int, int]
"""Device, inode and size of a table."""


class Table:
    """A table of captions that grows by whole lines.

    It is rewritten only before it grows, if rows are to be replaced or its last line has no end. What another program
    has written is never replaced.

    Raises: UsageError for a file that is no such table, or that another process writes; DataError for a damaged line;
    CaptionerError if the file cannot be locked.
    """

    def __init__(self, path: Path, model: str, overwrite: bool = False) -> None:
        check_output(path, overwrite=True)
        self.name, self.path = path, Path(os.path.realpath(path))
        self.counts = Counter[str]()
        """The photographs of this run: `known`, `corrected` by a person, `changed`, and of `other` options."""
        self.failed = False
        """Whether the table could not be written; then it is not written again."""
        self._model, self._overwrite = model, overwrite
        self._rows: dict[str, list[Row]] = {}
        self._photos: dict[str, os.stat_result] = {}  # to be captioned
        self._edits: dict[Row, Stamp | None] = {}  # new stamps, or None for rows that are removed
        self._file: io.FileIO | None = None
        self._state: State | None = None
        self._size = 0  # of the whole lines
        with writing(path):
            self._lock = LockFile(
                self.path, path, "another process writes this table; wait for it, or use another file"
            )
        try:
            remove_temporary_files(self.path)
            self.format = self._read()
        except BaseException:
            self._lock.release()
            raise

    def _read(self) -> Rows:
        """Read where the rows are. Raises: UsageError, DataError."""
        with suppress(FileNotFoundError):
            self._state = _state_of(self.path)
        if self._state is None:
            return FORMATS[self.path.suffix.lower()]
        form = _format_of(self.path, self.name)
        for place, values, start, end in self._lines_of(form):
            stamp, caption = parse_stamp(values.get("file")), str(values.get("caption") or "")
            row = Row(start, end, stamp, caption if is_corrected(caption, stamp) else None)
            self._rows.setdefault(place, []).append(row)
        return form

    def _lines_of(self, form: Rows) -> Iterator[tuple[str, dict[str, Any], int, int]]:
        """Yield the rows with the paths of their photographs and where they start and end.

        A last line without its end that is not whole is left out, unless it is inside of a cell.

        Raises: DataError for another damaged line, or if the file cannot be read.
        """
        number = start = self._size = 0

        def lines() -> Iterator[str]:
            nonlocal number
            for number, line in enumerate(file, 1):
                has_end, text = line.endswith(b"\n"), ""
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as problem:
                    if has_end or problem.reason != "unexpected end of data":
                        raise
                if not has_end and start == self._size and not form.is_whole(text):
                    return
                self._size += len(line)
                yield text

        with regular_file(self.path) as descriptor, open(descriptor, "rb", closefd=False) as file:
            rows = lines()
            try:
                if form.start:
                    next(rows, "")
                start = self._size
                for values in form.read(rows):
                    if values.get("image"):
                        yield place_of(os.path.join(self.path.parent, values["image"])), values, start, self._size
                    start = self._size
            except (ValueError, csv.Error, RecursionError) as problem:
                what = "expected UTF-8 text; save it as UTF-8" if isinstance(problem, UnicodeError) else problem
                raise DataError(f"{self.name}: line {number}: {what}; nothing was changed") from None

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the rows as they are now, each with the path of its photograph; of several for one, the first."""
        seen = set[str]()
        for place, values, _, _ in self._lines_of(self.format) if self._state else ():
            if place not in seen:
                seen.add(place)
                yield place, values

    @property
    def corrections(self) -> dict[str, str]:
        """The captions that a person corrected, by the path of the photograph."""
        rows = ((place, row) for place, rows in self._rows.items() for row in rows)
        return {place: row.correction for place, row in rows if row.correction is not None}

    def __len__(self) -> int:
        """The number of photographs that have a row."""
        return len(self._rows)

    def lacks(self, photo: Path) -> bool:
        """Return whether a photograph is to be captioned: its row is missing, or the photograph has changed.

        A corrected row is kept. If size or time differ, the digest of the photograph decides.
        """
        place = place_of(photo)
        try:
            status = os.stat(photo)
            rows = [] if self._overwrite else self._rows.get(place, [])
            if any(row.correction is not None or self._is_current(row, photo, status) for row in rows):
                self.counts["known"] += 1
                self.counts["corrected"] += any(row.correction is not None for row in rows)
                self.counts["other"] += any(row.stamp is not None and row.stamp.model != self._model for row in rows)
                return False
        except (OSError, DataError):  # reported when it is read to be captioned; its row is kept
            return True
        self._photos[place] = status
        self.counts["changed"] += bool(rows)
        self._edits |= dict.fromkeys(self._rows.get(place, []))
        return True

    def _is_current(self, row: Row, photo: Path, status: os.stat_result) -> bool:
        """Return whether a row describes a photograph as it is. Raises: DataError if it cannot be read."""
        stamp, time = row.stamp, time_of(status)
        if stamp is None or stamp.size != status.st_size:
            return False
        if stamp.time != time:
            if stamp.photo != sha256_of(photo)[:DIGITS]:
                return False
            self._edits[row] = stamp._replace(time=time)
        return True

    def begin(self) -> None:
        """Rewrite the table, if rows are to be replaced, or its last line is not whole or has no end.

        Raises: CaptionerError, with the old file unchanged.
        """
        if self._state is None:
            return
        with writing(self.name), open(self.path, "rb") as old:
            old.seek(max(0, self._size - 1))
            if not self._edits and self._size == self._state[2] and old.read(1) in b"\n":
                return
            with replacing(self.path) as temporary:
                with open(temporary, "wb") as new:
                    last = b"\n"
                    for part in filter(None, self._kept(old)):
                        new.write(part)
                        last = part[-1:]
                    new.write({b"\n": b"", b"\r": b"\n"}.get(last, self.format.line_end.encode()))
                shutil.copymode(self.path, temporary)
                self._check()
            self._state = _state_of(self.path)
        for place in self._photos:
            self._rows.pop(place, None)

    def _kept(self, old: io.BufferedReader) -> Iterator[bytes]:
        """Yield the parts of the file that stay, with new stamps."""
        old.seek(0)
        for row, stamp in sorted(self._edits.items()):
            yield old.read(row.start - old.tell())
            line = old.read(row.end - row.start)
            yield line.replace(str(row.stamp).encode(), str(stamp).encode()) if stamp else b""
        yield old.read(self._size - old.tell())

    def write(self, photo: Path, caption: Caption) -> None:
        """Append the row of a photograph that the table lacks. Raises: CaptionerError, with the rows intact."""
        place = place_of(photo)
        if self.failed or place not in self._photos:
            return
        status = self._photos[place]
        digests = caption.digest[:DIGITS], digest_of(caption.text), self._model
        stamp = Stamp(status.st_size, time_of(status), *digests)
        line = self.format.line(os.path.relpath(place, self.path.parent), caption, stamp)
        self.failed = True
        with writing(self.name):
            self._append(line.encode("utf-8", "backslashreplace"))
        self.failed = False
        self._rows[place] = []

    def _append(self, line: bytes) -> None:
        """Raises: CaptionerError if another program has changed the file; OSError if it cannot be written."""
        if self._state is None:
            try:
                open(self.path, "xb").close()
            except FileExistsError:
                raise CaptionerError(CHANGED.format(self.name)) from None
            self._state = _state_of(self.path)
        if self._file is None:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - until `close`
        self._check()
        device, inode, size = self._state
        line = line if size else self.format.start.encode() + line
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._file.truncate(size)
            raise
        self._state = device, inode, size + len(line)

    def _check(self) -> None:
        """Raises: CaptionerError if the file is not as this process left it."""
        with suppress(FileNotFoundError):
            if _state_of(self.path) == self._state:
                return
        raise CaptionerError(CHANGED.format(self.name))

    def close(self) -> None:
        """Close the table, and let other processes write it."""
        if self._file is not None:
            self._file.close()
        self._lock.release()


CHANGED = "{}: changed by another program; no further rows are written; run the command again to go on"


def _state_of(path: Path) -> State:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size


class Album:
    """The tables and the sidecars of the photographs of one command.

    A photograph is captioned if a table lacks it or, without tables, if a sidecar is missing.
    """

    def __init__(self, sidecars: Sequence[Sidecars] = ()) -> None:
        real_folder.cache_clear()  # links may have changed since another command of this process
        self.tables, self.sidecars = list[Table](), sidecars
        self.problems: list[CaptionerError] = []
        """Photographs whose sidecars cannot be written, and tables that cannot be prepared."""
        self._corrections: dict[str, str] = {}
        self._missing: dict[str, list[Sidecars]] = {}  # sidecars by the path of the photograph
        self._known: dict[str, Path] = {}  # photographs whose sidecars have the captions of the first table

    def select(self, photos: Iterable[Path | DataError], limit: int | None = None) -> list[Path | DataError]:
        """Return the photographs to caption, at most `limit`, and the errors among them, and prepare the tables.

        Raises: CaptionerError if no table can be prepared.
        """
        chosen: list[Path | DataError] = []
        count = 0
        for photo in photos:
            if isinstance(photo, DataError) or self._lacks(photo):
                chosen.append(photo)
                count += isinstance(photo, Path)
            if count == limit:
                break
        for table in self.tables:
            try:
                table.begin()
            except CaptionerError as error:
                table.failed = True
                if self.is_lost:
                    raise
                self.problems.append(error)
            self._corrections |= table.corrections
        return chosen

    def _lacks(self, photo: Path) -> bool:
        place = place_of(photo)
        if place in self._missing and (self.tables or self.sidecars):
            return False  # named twice
        self._missing[place] = []
        for sidecars in self.sidecars:
            try:
                self._missing[place] += [sidecars] if sidecars.lacks(photo) else []
            except CaptionerError as error:
                self.problems.append(error)
        if not self.tables:
            return bool(self._missing[place]) or not self.sidecars
        if any([table.lacks(photo) for table in self.tables]):  # noqa: C419 - each table is asked
            return True
        self._known[place] = photo
        return False

    def write(self, photo: Path, caption: Caption) -> Iterator[CaptionerError]:
        """Write the caption of a photograph; yield what could not be written."""
        for table in self.tables:
            try:
                table.write(photo, caption)
            except CaptionerError as error:
                yield error
        keywords = [keyword.word for keyword in caption.keywords]
        yield from self._write_sidecars(place_of(photo), photo, Description(caption.text, keywords, caption.marks))

    def _write_sidecars(self, place: str, photo: Path, description: Description) -> Iterator[CaptionerError]:
        text = self._corrections.get(place)
        is_corrected = text is not None
        if text is not None:
            description = description._replace(caption=text, marks=())
        for sidecars in self.sidecars if is_corrected else self._missing.get(place, ()):
            try:
                sidecars.write(photo, description, is_corrected)
            except CaptionerError as error:
                yield error

    def finish(self) -> Iterator[CaptionerError]:
        """Write the sidecars of photographs that were known before; yield what failed."""
        if self.tables and any(self._missing[place] or place in self._corrections for place in self._known):
            try:
                for place, values in self.tables[0].records():
                    if place in self._known:
                        yield from self._write_sidecars(place, self._known[place], description_of(values))
            except CaptionerError as error:
                yield error

    @property
    def counts(self) -> Counter[str]:
        """What the first table had of the photographs."""
        return self.tables[0].counts if self.tables else Counter()

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be written any more."""
        return bool(self.tables) and not self.sidecars and all(table.failed for table in self.tables)

    def places(self) -> Iterator[str]:
        """Describe where the captions are, and which files were kept."""
        for table in self.tables:
            if count := len(table):
                yield f"{table.name}: {count:,} photograph{'s' * (count != 1)}"
        for sidecars in self.sidecars:
            yield from filter(None, sidecars.finish())

    def close(self) -> None:
        """Close the tables, and let other processes write them."""
        for table in self.tables:
            table.close()

    def records(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Yield the records of the JSON lines, with the captions that a person corrected in any table."""
        for table in self.tables:
            if isinstance(table.format, JsonLines):
                for place, values in table.records():
                    text = self._corrections.get(place)
                    yield Path(place), values if text is None else {**values, "caption": text, "corrected": True}
                return


def description_of(values: Mapping[str, Any]) -> Description:
    """Return the description in a row; a person may have edited any part."""
    keywords, marks = (_words(values.get(name)) for name in ("keywords", "marks"))
    return Description(str(values.get("caption") or ""), keywords, [] if values.get("corrected") else marks)


def _words(value: object) -> list[str]:
    """Return the words in a cell of CSV, or in a list of JSON of words or keywords."""
    if isinstance(value, str):
        return [word for part in value.split(",") if (word := part.strip())]
    words = [each.get("word") if isinstance(each, dict) else each for each in value] if isinstance(value, list) else []
    return [word for word in words if isinstance(word, str)]
