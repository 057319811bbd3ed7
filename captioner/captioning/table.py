"""A table of captions that grows, photograph by photograph, and goes on where it stopped.

Its state is in its rows: the column `file` has what a photograph and its caption were when the row was written, so that
the same command captions what is new or changed.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from captioner.captioning.caption import Caption
from captioner.captioning.table_rows import (
    DIGITS,
    FORMATS,
    Rows,
    Stamp,
    digest_of,
    is_corrected,
    is_whole,
    open_format,
    parse_stamp,
    time_of,
)
from captioner.errors import CaptionerError, DataError
from captioner.files.atomic import remove_temporary_files, replacing, writing
from captioner.files.lock import LockFile
from captioner.files.user_files import check_output, regular_file, sha256_of

CHANGED = "{}: changed by another program; no further rows are written; run the command again to go on"
State = tuple[int, int, int]
"""Device, inode and size of a table."""

real_folder = cache(os.path.realpath)


def place_of(photo: str | os.PathLike[str]) -> str:
    """Return the one absolute path of a photograph, however it was named."""
    folder, name = os.path.split(photo)
    return os.path.join(real_folder(os.path.join(os.getcwd(), folder)), name)


class Row(NamedTuple):
    """Where the row of a photograph is in a table, its stamp, and its caption if a person corrected it."""

    start: int
    end: int
    stamp: Stamp | None
    correction: str | None


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
        form = open_format(self.path, self.name)
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
                if not has_end and start == self._size and not is_whole(form, text):
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


def _state_of(path: Path) -> State:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size
