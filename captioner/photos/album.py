"""The album: an SQLite database of photographs, their captions, and what people corrected.

A photograph is its picture: places are paths of files with the same pixels, whatever their metadata are. Files that
people read or edit are exports of the album.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from captioner.arrays import Array
from captioner.captioning.caption import Caption, from_record, to_record
from captioner.data.table_cells import BY_PERSON
from captioner.decode.word_regression import STORED, Keyword
from captioner.errors import CaptionerError, DataError, UsageError, quoted

APPLICATION, VERSION = 0x63617074, 1
"""What `PRAGMA application_id` and `PRAGMA user_version` of an album are."""
LARGEST = (1 << 63) - 1
BLOCK = 4096
"""Photographs whose shares are read at a time."""
SHARE = np.dtype([("word", "<u2"), ("share", "<f2")])
"""An expected share: the id of a word of the album, 0 for none, and the share."""
MAX_WORDS = np.iinfo(SHARE["word"]).max
BUSY = 30.0
"""Seconds to wait for another process that writes."""
FLUSH = 1.0
"""Seconds after which captions are written to the disk."""
SCHEMA = """
CREATE TABLE photograph (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, caption INTEGER, correction INTEGER);
CREATE TABLE place (path BLOB PRIMARY KEY, photograph INTEGER NOT NULL REFERENCES photograph,
  device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, time INTEGER NOT NULL);
CREATE INDEX place_photograph ON place (photograph);
CREATE INDEX place_file ON place (inode, device);
CREATE TABLE word (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE);
CREATE TABLE caption (id INTEGER PRIMARY KEY, photograph INTEGER NOT NULL REFERENCES photograph, model TEXT NOT NULL,
  record TEXT NOT NULL, shares BLOB NOT NULL, time TEXT NOT NULL);
CREATE INDEX caption_photograph ON caption (photograph);
CREATE TABLE correction (id INTEGER PRIMARY KEY, photograph INTEGER NOT NULL REFERENCES photograph,
  caption TEXT, keywords TEXT, origin TEXT NOT NULL);
CREATE INDEX correction_photograph ON correction (photograph);
CREATE TABLE export (path BLOB PRIMARY KEY, digest TEXT NOT NULL, edits TEXT NOT NULL);
CREATE TABLE album (name TEXT NOT NULL);
"""
"""photograph: the digest of its pixels, and the caption and the correction that count; all others are its history.
place: where it is, and the status of the file, which spares reading it again. caption: what a model wrote, as
`to_record`, and the largest expected shares. correction: what a person wrote, without texts if the person took
corrections back; its id is the time in microseconds. export: the SHA-256 of what was written to a file or read from it,
and as JSON the cells that differed when it was read. album: a random name, which tables have."""
PLACES = """place JOIN photograph ON photograph.id = place.photograph
JOIN caption ON caption.id = photograph.caption"""
"""Places with their photographs and captions."""
ENTRIES = """SELECT path, digest, record, correction.caption, correction.keywords, model,
(SELECT max(id) FROM correction WHERE photograph = photograph.id)
FROM photograph JOIN caption ON caption.id = photograph.caption LEFT JOIN place ON place.photograph = photograph.id
LEFT JOIN correction ON correction.id = photograph.correction"""
"""Photographs with their captions and corrections, at each of their places, or nowhere."""
CORRECTIONS = """SELECT correction.id, correction.caption, keywords, origin, digest
FROM correction JOIN photograph ON photograph.id = photograph"""
_MARKED = "(photograph.correction IS NULL AND json_array_length(record, '$.marks'))"
SHOWN = {"all": "1", "marked": _MARKED, "unmarked": f"NOT {_MARKED}", "corrected": "photograph.correction NOT NULL"}
"""Conditions of places that are shown."""
_CERTAINTY = "photograph.correction NOT NULL {0}, ifnull(json_extract(record, '$.similarity'), -1) {0}"
ORDERS = {"album": "NULL", "ascending": _CERTAINTY.format("ASC"), "descending": _CERTAINTY.format("DESC")}
"""Orders of places before that of their paths: none, or by how certain the captions are."""
BY_PATH = "ORDER BY natural(path)"
ERRORS: Mapping[str, tuple[type[CaptionerError], str]] = {
    "locked": (CaptionerError, "; another process writes it; try again"),
    "malformed": (DataError, "; restore it from a backup"),
    "not a database": (DataError, "; it is no album; use another file"),
}
"""The errors of the database by a part of their messages, and what to try."""
NOWHERE = Path()
DIGITS = 20
"""Numbers in paths are compared with so many digits."""
Status = tuple[int, int, int, int]
"""The device, number and size of a file, and when its content or status last changed."""
Description = tuple[str, Sequence[str]]
"""A caption and keywords."""
Cells = Sequence[Any]
"""The caption and the keywords in a row of a table."""


class Entry(NamedTuple):
    """A photograph of the album at one of its places, or `NOWHERE`: the generated caption, what a person wrote instead,
    if anything, the model, and the number of the last correction, also of one that takes others back, or 0.
    """

    path: Path
    id: str
    generated: Caption
    correction: Description | None
    model: str
    revision: int = 0

    @property
    def by_person(self) -> str | None:
        """What a person did: one of `BY_PERSON`, or None."""
        if self.correction is None:
            return None
        text, words = self.correction
        is_same = (text, [*words]) == (self.generated.text, [each.word for each in self.generated.keywords])
        return BY_PERSON[is_same]

    @property
    def caption(self) -> Caption:
        """The caption that counts. A corrected one is certain: it has no marks, and new keywords have the share 1."""
        if self.correction is None:
            return self.generated
        text, words = self.correction
        shares = {keyword.word: keyword for keyword in self.generated.keywords}
        keywords = [shares.get(word, Keyword(word, 1.0)) for word in words]
        return self.generated._replace(text=text, keywords=keywords, marks=(), candidates=self.generated.candidates[:1])


class Correction(NamedTuple):
    """What a person wrote of a photograph, or None to take corrections back: its time in microseconds, and where."""

    number: int
    description: Description | None
    origin: str


def default_path() -> Path:
    """Return the path of the album of a user: CAPTIONER_ALBUM, or a file in the folder of data."""
    if path := os.environ.get("CAPTIONER_ALBUM"):
        return Path(path)
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data, "captioner", "album.db")


def thumbnails_of(album: Path) -> Path:
    """Return the folder with the thumbnails of an album."""
    file = album.resolve()
    return file.with_name(f"{file.name}-thumbnails")


real_folder = cache(os.path.realpath)


def place_of(photo: str | os.PathLike[str]) -> bytes:
    """Return the one absolute path of a photograph, however it was named."""
    folder, name = os.path.split(photo)
    return os.fsencode(os.path.join(real_folder(os.path.join(os.getcwd(), folder)), name))


class Album:
    """An album in a file, which is created if it is missing, or in memory if `path` is None.

    Several processes may write one album. Captions are written each second and by `flush`, all else at once.

    Raises: UsageError for a file that is no album of this version; CaptionerError if it cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self.path, self.name = path, str(path or "the album")
        self.is_new = path is None or not path.exists()
        self._new: list[tuple[bytes, bytes, Status, Caption | None, str]] = []
        self._flushed = time.monotonic()
        real_folder.cache_clear()  # links may have changed since another command of this process
        with self._reporting():
            if path is not None and self.is_new:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(path or ":memory:", timeout=BUSY, isolation_level=None)
            self._db.create_function("natural", 1, _natural, deterministic=True)
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def _open(self) -> None:
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "secure_delete = ON", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        if not self._one("SELECT count(*) FROM sqlite_master") and not self._one("PRAGMA application_id"):
            with self.transaction():
                if not self._one("SELECT count(*) FROM sqlite_master"):  # or another process was faster
                    for statement in SCHEMA.split(";\n"):
                        self._db.execute(statement)
                    self._db.execute(f"PRAGMA application_id = {APPLICATION}")
                    self._db.execute(f"PRAGMA user_version = {VERSION}")
                    self._db.execute("INSERT INTO album VALUES (?)", (secrets.token_hex(3),))
        found = self._one("PRAGMA application_id"), self._one("PRAGMA user_version")
        if found[0] != APPLICATION:
            raise UsageError(f"{self.name}: expected an album of captioner, got another database; use another file")
        if found[1] != VERSION:
            raise UsageError(f"{self.name}: expected an album of version {VERSION}, got {found[1]}; update captioner")
        self.id: str = self._one("SELECT name FROM album")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the captions that are left, and close the file. Raises: CaptionerError."""
        try:
            self.flush()
        finally:
            self._db.close()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Convert errors of the database to one line."""
        try:
            yield
        except sqlite3.Error as error:
            kind, hint = next((found for text, found in ERRORS.items() if text in str(error)), (CaptionerError, ""))
            raise kind(f"{self.name}: cannot be read or written: {error}{hint}") from error
        except OSError as error:
            raise CaptionerError(f"{self.name}: cannot be read or written: {error.strerror}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what the block reads and writes one transaction, also if it contains others: no other process writes
        meanwhile.

        Raises: CaptionerError, with nothing written.
        """
        if self._db.in_transaction:
            yield
            return
        with self._reporting():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _one(self, statement: str, *values: Any) -> Any:
        row = self._db.execute(statement, values).fetchone()
        return row and row[0]

    def known(self, photo: Path) -> bool:
        """Return whether a photograph has a caption, by the path and the status of its file, which is not read.

        A file in a folder that was renamed or moved is known by its number.

        Raises: DataError if it cannot be found.
        """
        path, status = place_of(photo), status_of(photo)
        with self._reporting():
            found = self._db.execute("SELECT device, inode, size, time FROM place WHERE path = ?", (path,)).fetchone()
            where = "device = ? AND inode = ? AND size = ? AND place.time = ?"
            is_same, arguments = found == status, (path,) if found == status else status
            digest = self._one(f"SELECT digest FROM {PLACES} WHERE {'path = ?' if is_same else where}", *arguments)
        if digest is not None and not is_same:
            self.locate(photo, digest, status)
        return digest is not None

    def digests(self) -> set[bytes]:
        """Return the digests of the pictures that have a caption."""
        with self._reporting():
            rows = self._db.execute("SELECT digest FROM photograph WHERE caption NOT NULL")
            return {digest for (digest,) in rows}

    def locate(
        self, photo: Path, digest: bytes, status: Status, caption: Caption | None = None, model: str = ""
    ) -> None:
        """Record where a picture is, and the caption that a model wrote. `status` is that before the file was read."""
        self._new.append((place_of(photo), digest, status, caption, model))
        if time.monotonic() - self._flushed > FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what was recorded. Raises: CaptionerError."""
        rows, self._new, self._flushed = self._new, [], time.monotonic()
        if not rows:
            return
        with self.transaction():
            for path, digest, status, caption, model in rows:
                self._db.execute("INSERT OR IGNORE INTO photograph (digest) VALUES (?)", (digest,))
                photograph = self._one("SELECT id FROM photograph WHERE digest = ?", digest)
                self._place(path, photograph, status)
                if caption is not None:
                    own = "SELECT id FROM caption WHERE photograph = ? AND model = ?"
                    number = self._one(own, photograph, model)
                    if number is None:
                        row = photograph, model, json.dumps(to_record(caption)), self._shares(caption.shares), _now()
                        number = self._db.execute("INSERT INTO caption VALUES (NULL, ?, ?, ?, ?, ?)", row).lastrowid
                    self._db.execute("UPDATE photograph SET caption = ? WHERE id = ?", (number, photograph))

    def _place(self, path: bytes, photograph: int, status: Status) -> None:
        """Record where a photograph is; a place where it is no more has moved there."""
        others = self._db.execute("SELECT path FROM place WHERE photograph = ? AND path != ?", (photograph, path))
        missing = next((other for (other,) in others.fetchall() if not os.path.lexists(other)), None)
        self._db.execute("DELETE FROM place WHERE path = ?", (missing,))
        self._db.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?, ?, ?)", (path, photograph, *status))

    def _shares(self, shares: Sequence[Keyword]) -> bytes:
        """Return the largest expected shares as an array of `SHARE`."""
        insert, select = "INSERT OR IGNORE INTO word (word) VALUES (?)", "SELECT id FROM word WHERE word = ?"
        self._db.executemany(insert, ((share.word,) for share in shares))
        ids = [(self._one(select, share.word), share.share) for share in shares]
        known = [pair for pair in ids if pair[0] <= MAX_WORDS]
        return np.array(known + [(0, 0.0)] * (STORED - len(known)), SHARE).tobytes()

    def entries(self, photos: Iterable[Path | bytes] | None = None) -> Iterator[Entry]:
        """Yield what the album has of photographs, or of places, by default of all in the order of their paths."""
        self.flush()
        with self._reporting():
            if photos is None:
                # all, as an open cursor would keep other processes from writing
                yield from map(_entry, self._db.execute(f"{ENTRIES} WHERE path NOT NULL {BY_PATH}").fetchall())
            for photo in photos or ():
                place = photo if isinstance(photo, bytes) else place_of(photo)
                yield from map(_entry, self._db.execute(f"{ENTRIES} WHERE place.path = ?", (place,)).fetchall())

    def ids(self, show: str = "all", order: str = "album") -> dict[bytes, str]:
        """Return the ids of entries by their places: those of `SHOWN`, in an order of `ORDERS`. Raises: UsageError."""
        for name, value, known in ("show", show, SHOWN), ("order", order, ORDERS):
            if value not in known:
                raise UsageError(f"{name}: expected {', '.join(known)}, got {quoted(value)}")
        self.flush()
        with self._reporting():
            select = f"SELECT path, digest FROM {PLACES} WHERE {SHOWN[show]} ORDER BY {ORDERS[order]}, natural(path)"
            return {path: _id(digest) for path, digest in self._db.execute(select)}

    def find(self, id: str) -> list[Entry]:
        """Return the entries of the photograph with the id of an entry: one for each place, or one that is nowhere."""
        self.flush()
        with self._reporting():
            return [*map(_entry, self._db.execute(f"{ENTRIES} WHERE digest = ? {BY_PATH}", (_digest(id),)))]

    def history(self, id: str) -> tuple[list[Correction], list[Description]]:
        """Return all corrections of the photograph of an entry in order, and all that models wrote."""
        where, digest = "WHERE digest = ?", _digest(id)
        with self._reporting():
            rows = self._db.execute(f"{CORRECTIONS} {where} ORDER BY correction.id", (digest,))
            corrections = [Correction(row[0], _description(*row[1:3]), row[3]) for row in rows]
            select = "SELECT record FROM caption JOIN photograph ON photograph.id = photograph"
            records = self._db.execute(f"{select} {where}", (digest,))
            generated = [_read(record) for (record,) in records]
        return corrections, [(caption.text, [each.word for each in caption.keywords]) for caption in generated]

    def correct(self, id: str, correction: Description | None, origin: str) -> None:
        """Add what a person wrote of the photograph of an entry, or None to let the generated caption count again.

        Earlier corrections stay in the history.

        Raises: UsageError for an id of no photograph.
        """
        if not self.find(id):
            raise UsageError(f"{id}: no photograph of the album")
        caption, keywords = (None, None) if correction is None else (correction[0], json.dumps(correction[1]))
        with self.transaction():
            self._add_correction(self._next_number(), caption, keywords, origin, _digest(id))
            self._count_corrections(_digest(id))

    def _next_number(self) -> int:
        """Return the time in microseconds, later than those of all corrections, also if the clock was set back."""
        with self._reporting():
            latest = self._one("SELECT max(id) FROM correction") or 0
        return max(time.time_ns() // 1000, int(latest) + 1)

    def _add_correction(
        self, number: int, caption: str | None, keywords: str | None, origin: str, digest: bytes
    ) -> None:
        self._db.execute("INSERT OR IGNORE INTO photograph (digest) VALUES (?)", (digest,))
        while self._one("SELECT 1 FROM correction WHERE id = ?", number):
            number += 1
        values = number, caption, keywords, origin, digest
        self._db.execute("INSERT INTO correction SELECT ?, id, ?, ?, ? FROM photograph WHERE digest = ?", values)

    def _count_corrections(self, digest: bytes | None = None) -> None:
        """Let the last correction of a photograph count, or of all; none if it takes others back."""
        last = "SELECT id FROM correction WHERE photograph = photograph.id ORDER BY id DESC LIMIT 1"
        counts = f"(SELECT id FROM correction WHERE id = ({last}) AND caption NOT NULL)"
        where, values = ("", ()) if digest is None else ("WHERE digest = ?", (digest,))
        self._db.execute(f"UPDATE photograph SET correction = {counts} {where}", values)

    def exports(self) -> dict[Path, str]:
        """Return the SHA-256 of the files that the album wrote, as it wrote them."""
        with self._reporting():
            rows = self._db.execute("SELECT path, digest FROM export ORDER BY path")
            return {Path(os.fsdecode(path)): digest for path, digest in rows}

    def exported(self, path: Path, digest: str | None, edits: Mapping[str, Cells] = {}) -> None:
        """Record the SHA-256 of a file that was written, or read with `edits`; None for a missing file."""
        place = os.fsencode(path)
        with self.transaction():
            self._db.execute("DELETE FROM export WHERE path = ?", (place,))
            if digest is not None:
                self._db.execute("INSERT INTO export VALUES (?, ?, ?)", (place, digest, json.dumps(edits)))

    def edits(self, path: Path) -> dict[str, Cells] | None:
        """Return the cells of a table, by image, that differed when it was read; None for a table of no path."""
        with self._reporting():
            edits = self._one("SELECT edits FROM export WHERE path = ?", os.fsencode(path))
        return None if edits is None else dict(json.loads(edits))

    def models(self) -> Counter[str]:
        """Count the photographs by the model that wrote their captions."""
        self.flush()
        with self._reporting():
            return Counter(dict(self._db.execute(f"SELECT model, count(*) FROM {PLACES} GROUP BY model")))

    def shares(self) -> Iterator[tuple[list[bytes], Array]]:
        """Yield the places of photographs, and their largest expected shares, in blocks. Shapes: (N, K) of `SHARE`."""
        self.flush()
        with self._reporting():
            rows = self._db.execute(f"SELECT path, shares FROM {PLACES}")
            while block := rows.fetchmany(BLOCK):
                paths, blobs = zip(*block, strict=True)
                yield list(paths), np.frombuffer(b"".join(blobs), SHARE).reshape(len(paths), STORED)

    def words(self) -> dict[str, int]:
        """Return the ids of the words that have expected shares."""
        self.flush()
        with self._reporting():
            return dict(self._db.execute("SELECT word, id FROM word"))

    def corrections(self) -> dict[bytes, Description]:
        """Return what people wrote, by the places of the photographs."""
        with self._reporting():
            rows = self._db.execute(
                "SELECT path, correction.caption, keywords FROM correction JOIN photograph "
                "ON photograph.correction = correction.id JOIN place ON place.photograph = photograph.id"
            )
            return {path: (caption, json.loads(keywords)) for path, caption, keywords in rows}

    def has_any(self, folder: Path | None = None) -> bool:
        """Return whether the album has a photograph, in a folder if one is given."""
        within = os.fsencode(os.path.join(os.path.realpath(folder), "")) if folder else b""
        self.flush()
        with self._reporting():
            return self._one("SELECT 1 FROM place WHERE substr(path, 1, ?) = ?", len(within), within) is not None

    def forget(self, places: Iterable[Path]) -> None:
        """Forget where photographs were. Captions and corrections stay, for when the pictures come back."""
        with self.transaction():
            self._db.executemany("DELETE FROM place WHERE path = ?", ((os.fsencode(place),) for place in places))

    def merge(self, other: Album) -> None:
        """Add what another album has: photographs with their captions, if this one has none, and corrections."""
        known = self.digests()
        with other._reporting(), self._reporting():
            words = dict(other._db.execute("SELECT id, word FROM word"))
            select = f"SELECT path, digest, device, inode, size, place.time, record, shares, model FROM {PLACES}"
            for path, digest, *status, record, shares, model in other._db.execute(select):
                stored = np.frombuffer(shares, SHARE).tolist()
                caption = _read(record)._replace(shares=[Keyword(words[id], share) for id, share in stored if id])
                self._new.append((path, digest, tuple(status), None if digest in known else caption, model))
                if len(self._new) >= BLOCK:
                    self.flush()
            self.flush()
            own = set(self._db.execute(CORRECTIONS))
            with self.transaction():
                for row in other._db.execute(CORRECTIONS).fetchall():
                    if row not in own:
                        self._add_correction(*row)
                self._count_corrections()

    def check(self) -> None:
        """Raises: CaptionerError unless the file is whole."""
        with self._reporting():
            if (found := self._one("PRAGMA integrity_check")) != "ok":
                raise CaptionerError(f"{self.name}: damaged: {found}; restore it from a backup")


def status_of(photo: Path) -> Status:
    """Return the status of a file. Raises: DataError if there is none."""
    try:
        status = os.stat(photo)
    except (OSError, ValueError) as error:
        raise DataError(f"{photo}: {getattr(error, 'strerror', None) or error}") from None
    # SQLite has signed numbers of 64 bits
    return status.st_dev & LARGEST, status.st_ino & LARGEST, status.st_size, status.st_ctime_ns & LARGEST


def _natural(path: bytes | None) -> bytes:
    """Return the key of a path in natural order: a2 before a10."""
    return re.sub(rb"\d+", lambda number: number[0].zfill(DIGITS), path or b"")


def _entry(row: Sequence[Any]) -> Entry:
    path, digest, record, caption, keywords, model, revision = row
    photo, correction = os.fsdecode(path or b""), _description(caption, keywords)
    return Entry(Path(photo), _id(digest), _read(record)._replace(image=photo), correction, model, revision or 0)


def _description(caption: str | None, keywords: str) -> Description | None:
    return None if caption is None else (caption, json.loads(keywords))


def _id(digest: bytes) -> str:
    """Return the id of an entry of a picture."""
    return f"p{digest.hex()}"


def _digest(id: str) -> bytes:
    """Return the digest of the picture of an entry with this id; empty for a text that is none."""
    return bytes.fromhex(id[1:]) if is_id(id) else b""


def is_id(text: str) -> bool:
    """Return whether a text has the form of the id of an entry."""
    return re.fullmatch("p[0-9a-f]{32}", text) is not None


def _read(record: str) -> Caption:
    """Return the caption of a record. Raises: DataError for one that captioner did not write."""
    try:
        return from_record(json.loads(record))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"a caption of the album is damaged: {error!r:.100}") from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
