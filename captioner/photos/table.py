"""A table of captions that grows, photograph by photograph, and resumes where it stopped.

Its state is in its rows: the column `file` has what a photograph and its caption were when the row was written, so that
the same command captions what is new or changed.
"""

from __future__ import annotations

import errno
import io
import os
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial, reduce
from pathlib import Path
from typing import NamedTuple

from captioner.captioning.caption import Caption
from captioner.data.table_cells import DIGITS, Description, Stamp, correction_of, description_digest, parse_stamp
from captioner.errors import CaptionerError, DataError, UsageError
from captioner.files.atomic import remove_temporary_files, replacing, writing
from captioner.files.lock import LockFile
from captioner.files.user_files import check_output, sha256_of
from captioner.photos.table_rows import (
    TABLE_FORMATS,
    CsvRows,
    JsonLines,
    Rows,
    TableRow,
    open_format,
    place_of,
    read_rows,
    time_of,
)

CHANGED = "{}: changed by another program; no further rows are written; run the command again"
State = tuple[int, int, int]
"""Device, inode and size of a table."""


class Row(NamedTuple):
    """The span of the lines of a row in bytes, its stamp, and its description if a person corrected it.

    `is_copy` says whether it has a correction of another table.
    """

    span: tuple[int, int]
    stamp: Stamp | None
    correction: Description | None
    is_copy: bool


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
        """The photographs of this run that have changed and are `changed` in the table or, because a person corrected
        their captions, `kept`; those with captions of `other` options; and the corrections that were `replaced`."""
        self.failed = False
        """Whether the table could not be written; then it is not written again."""
        self._model, self._overwrite = model, overwrite
        self._rows: dict[str, list[Row]] = {}
        self._photos: dict[str, os.stat_result] = {}  # to be captioned
        self._edits: dict[tuple[int, int], list[Callable[[bytes], bytes]]] = {}  # of lines, by start and end
        self._removed: dict[str, bytes] = {}  # lines of photographs to caption again; also in the lock file
        self._file: io.FileIO | None = None
        self._state: State | None = None
        self._start = self._size = self._time = 0  # of the header and of the whole lines, and when they were written
        with writing(path):
            self._lock = LockFile(
                self.path, path, "another process writes this table; wait for it, or use another file"
            )
        try:
            remove_temporary_files(self.path, self._lock.stored)
            self.format = self._read()
            self._restore()
        except BaseException:
            self._lock.release(keep=True)
            raise

    def _read(self) -> Rows:
        """Read where the rows are. Raises: UsageError, DataError."""
        with suppress(FileNotFoundError):
            self._state, self._time = _state_of(self.path), os.stat(self.path).st_mtime_ns
        if self._state is None:
            return TABLE_FORMATS[self.path.suffix.lower()]
        form = open_format(self.path, self.name)
        for row in read_rows(self.path, self.name, form):
            self._size = row.end
            self._start = row.end if form.start and not row.start else self._start
            if row.path:
                is_copy, stamp = row.values.get("corrected") is True, parse_stamp(row.values.get("file"))
                found = Row((row.start, row.end), stamp, correction_of(row.values), is_copy)
                self._rows.setdefault(row.path, []).append(found)
        return form

    def _restore(self) -> None:
        """Append the rows that a process removed before it was killed, of photographs that have no other row.

        Raises: UsageError; DataError for a damaged line; CaptionerError if the table cannot be written.
        """
        path = self._lock.stored
        if not path.exists():
            return
        try:
            form, content = open_format(path, path), path.read_bytes()
            rows = [row for row in read_rows(path, path, form) if row.path and row.path not in self._rows]
        except (DataError, UsageError) as problem:
            raise DataError(f"{problem}; it has rows that an interrupted run removed: correct or delete it") from None
        self.format = self.format if self._start else form
        for row in rows:
            line = content[row.start : row.end]
            if isinstance(self.format, CsvRows) and self.format != form:
                line = self.format.restored(row.values).encode("utf-8", "backslashreplace")
            self._keep(row.path, line)
        if self._removed:
            self.begin()
            self.read_again({})

    def records(self) -> Iterator[TableRow]:
        """Yield the rows as they are now; of several for one photograph, the first corrected one or else the first."""
        seen = {""}
        own = {place for place, rows in self._rows.items() if any(row.correction is not None for row in rows)}
        for row in read_rows(self.path, self.name, self.format) if self._state else ():
            if row.path not in seen and (row.path not in own or correction_of(row.values) is not None):
                seen.add(row.path)
                yield row

    @property
    def corrections(self) -> dict[str, Description]:
        """The captions and keywords that a person corrected, by the path of the photograph; of several, the first."""
        if self._overwrite:
            return {}
        rows = ((place, row) for place, rows in self._rows.items() for row in reversed(rows))
        return {place: row.correction for place, row in rows if row.correction is not None}

    def __len__(self) -> int:
        """The number of photographs that have a row."""
        if not self.failed:
            return len(self._rows)
        with suppress(CaptionerError):
            return sum(1 for _ in self.records())
        return 0

    def lacks(self, photo: Path, is_corrected: bool = False) -> bool:
        """Return whether a photograph is to be captioned: its row is missing, or the photograph has changed.

        A corrected row is kept, and so is a copy of a correction, while another table has it (`is_corrected`). If size
        or time differ, the digest of the photograph decides.
        """
        place = place_of(photo)
        try:
            status = os.stat(photo)
            rows = self._rows.get(place, [])
            is_own = any(row.correction is not None for row in rows)
            is_copy = any(row.is_copy for row in rows)
            is_current = any([self._is_current(row, photo, status) for row in rows])  # noqa: C419 - each row is updated
            if (is_own or (is_corrected if is_copy else is_current)) and not self._overwrite:
                self.counts["kept"] += not is_current and all(row.stamp is not None for row in rows)
                self.counts["other"] += any(row.stamp is not None and row.stamp.model != self._model for row in rows)
                return False
        except (OSError, DataError):  # reported when it is read to be captioned; its row is kept
            return True
        self._photos[place] = status
        for row in rows:
            self._edits[row.span] = [partial(self._keep, place)]
        return True

    def _keep(self, place: str, line: bytes) -> bytes:
        """Keep a line for `finish`, and return what the table has in its place."""
        line = line if line.endswith(b"\n") else line + self.format.line_end.encode()
        self._removed[place] = self._removed.get(place, b"") + line.removeprefix(BOM_UTF8)
        return b""

    def correct(self, place: str, correction: Description) -> None:
        """Copy a correction of another table to the row of a photograph in JSON lines that no person corrected."""
        if isinstance(self.format, JsonLines) and place not in self._photos:
            for row in self._rows.get(place, ()):
                if row.correction is None and row.stamp and row.stamp.caption != description_digest(correction):
                    self._edits.setdefault(row.span, []).append(partial(self.format.corrected, correction))

    def _is_current(self, row: Row, photo: Path, status: os.stat_result) -> bool:
        """Return whether a row describes a photograph as it is. Raises: DataError if it cannot be read."""
        stamp, time = row.stamp, time_of(status)
        if stamp is None or stamp.size != status.st_size:
            return False
        if stamp.time != time:
            if stamp.photo != sha256_of(photo)[:DIGITS]:
                return False
            before, after = str(stamp).encode(), str(stamp._replace(time=time)).encode()
            self._edits[row.span] = [lambda line: line.replace(before, after)]
        return True

    def begin(self) -> None:
        """Rewrite the table, if rows are to be replaced, or its last line is not whole or has no end.

        Raises: CaptionerError, with the old file unchanged.
        """
        if self._state is None or self.failed:
            return
        self.failed = True
        with writing(self.name), open(self.path, "rb") as old:
            old.seek(max(0, self._size - 1))
            if not self._edits and self._size == self._state[2] and old.read(1) in b"\n":
                self.failed = False
                return
            with replacing(self.path, self._before_rename) as temporary, open(temporary, "wb") as new:
                last = b"\n"
                for part in filter(None, self._kept(old)):
                    new.write(part)
                    last = part[-1:]
                new.write({b"\n": b"", b"\r": b"\n"}.get(last, self.format.line_end.encode()))
            self._state = _state_of(self.path)
        self.failed = False

    def _kept(self, old: io.BufferedReader) -> Iterator[bytes]:
        """Yield the parts of the file that stay, and the edited lines."""
        old.seek(0)
        for (start, end), edits in sorted(self._edits.items()):
            yield old.read(start - old.tell())
            yield reduce(lambda line, edit: edit(line), edits, old.read(end - start))
        yield old.read(self._size - old.tell())

    def write(self, photo: Path, caption: Caption, correction: Description | None = None) -> None:
        """Append the row of a photograph that the table lacks, in JSON lines with the correction of another table.

        Raises: CaptionerError, with the rows intact.
        """
        place = place_of(photo)
        if self.failed or place not in self._photos:
            return
        status = self._photos[place]
        description = Description(caption.text, [keyword.word for keyword in caption.keywords])
        digests = caption.digest[:DIGITS], description_digest(description), self._model
        stamp = Stamp(status.st_size, time_of(status), *digests)
        old = self._removed.get(place, b"").decode()
        text = self.format.line(os.path.relpath(place, self.path.parent), caption, stamp, old)
        self._add(place, text.encode("utf-8", "backslashreplace"), correction)
        is_corrected = any(row.correction is not None for row in self._rows.get(place, ()))
        self.counts["replaced"] += is_corrected
        self.counts["changed"] += self._removed.pop(place, None) is not None and not self._overwrite
        self._rows[place] = []

    def _add(self, place: str, line: bytes, correction: Description | None) -> None:
        if correction is not None and isinstance(self.format, JsonLines):
            line = self.format.corrected(correction, line)
        self.failed = True
        with writing(self.name):
            self._append(line)
        self.failed = False

    def finish(self, corrections: Mapping[str, Description]) -> None:
        """Append the old rows of photographs that were not captioned again. Raises: CaptionerError, as `write`."""
        for place in [*self._removed] if not self.failed else ():
            rows = self._rows.setdefault(place, [])
            is_own = any(row.correction is not None for row in rows)
            self._add(place, self._removed[place], None if is_own else corrections.get(place))
            del self._removed[place]

    def read_again(self, corrections: Mapping[str, Description]) -> None:
        """Finish the table and read where its rows are, to caption more. Raises: CaptionerError, as `write`."""
        self.finish(corrections)
        if not self.failed:
            self._close()
            self._rows.clear()
            self._edits.clear()
            self.format = self._read()

    def _append(self, line: bytes) -> None:
        """Raises: CaptionerError if another program has changed the file; OSError if it cannot be written."""
        if self._state is None:
            try:
                open(self.path, "xb").close()
            except FileExistsError:
                raise CaptionerError(CHANGED.format(self.name)) from None
            self._state = _state_of(self.path)
        self._check()  # first: opening a named pipe would wait
        if self._file is None:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - until `close`
        device, inode, size = self._state
        line = line if size else self.format.start.encode() + line
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._file.truncate(size)
            raise
        self._state = device, inode, size + len(line)

    def _before_rename(self) -> bool:
        """Store the removed rows, so that none is lost if this process is killed, and return True.

        Raises: CaptionerError if the file is not as it was read, also if its size is the same; OSError.
        """
        self._check()
        if os.stat(self.path).st_mtime_ns != self._time:
            raise CaptionerError(CHANGED.format(self.name))
        with open(self.path, "rb") as old:
            start = old.read(self._start) or self.format.start.encode()
            self._lock.store(start + b"".join(self._removed.values()))
        return True

    def _check(self) -> None:
        """Raises: CaptionerError if the file is not as this process left it."""
        with suppress(FileNotFoundError):
            if _state_of(self.path) == self._state:
                return
        raise CaptionerError(CHANGED.format(self.name))

    def close(self) -> None:
        """Close the table, and let other processes write it; rows that could not be restored stay in the lock file."""
        with suppress(CaptionerError):
            self.finish({})
        self._close()
        self._lock.release(keep=bool(self._removed))

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _state_of(path: Path) -> State:
    status = os.stat(path)
    return status.st_dev, status.st_ino, status.st_size
