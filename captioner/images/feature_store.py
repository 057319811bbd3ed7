"""A resumable store of features."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import Self

import numpy as np

from captioner.arrays import Array
from captioner.errors import DataError, UsageError
from captioner.storage.files import irregular_kind, regular_file
from captioner.storage.lock import lock

MAGIC = b"captioner encodings "


class FeatureStore:
    """An append-only file of features by the digest of their photographs, valid after an interruption.

    A record is the digest (32 bytes), a checksum of the rest (4) and the numbers. An incomplete last record is
    truncated, and records of another encoder are discarded. Use it in a `with` block.

    Raises: UsageError if another process writes it, or the file is of another kind; OSError.
    """

    def __init__(self, path: Path, encoder: str, width: int, dtype: np.dtype[np.floating]) -> None:
        self.path = path
        self._record = np.dtype([("digest", "V32"), ("check", "<u4"), ("numbers", dtype.newbyteorder("<"), (width,))])
        encoder_digest = hashlib.sha256(f"{encoder} {width} {dtype}".encode()).hexdigest()
        self._header = MAGIC + f"{encoder_digest}\n".encode()
        self._file = open(path, "a+b")  # noqa: SIM115 - closed by __exit__
        self.rows: dict[bytes, int] = {}
        """The row of each digest."""
        self.discarded = False
        """Whether records of another encoder were discarded."""
        try:
            lock(self._file.fileno(), path)
            self._recover()
        except BaseException as error:
            self._file.close()
            if isinstance(error, BlockingIOError):
                raise UsageError(f"{path}: another process writes encoded features to this file; wait for it") from None
            raise

    def _recover(self) -> None:
        if kind := irregular_kind(os.fstat(self._file.fileno())):
            raise UsageError(f"{self.path}: expected a file for encoded features, got {kind}; move it away")
        self._file.seek(0)
        header = self._file.read(len(self._header))
        if header[: len(MAGIC)] != MAGIC[: len(header)]:
            raise UsageError(
                f"{self.path}: expected encoded features of an earlier run, got another file; move it away"
            )
        if header != self._header:
            self.discarded = len(header) == len(self._header) and bool(self._file.read(1))
            self._file.truncate(0)
            self._file.write(self._header)
            self._file.flush()
        count = (self._file.seek(0, os.SEEK_END) - len(self._header)) // self._record.itemsize
        self._count = self._read_digests(count)
        self._file.truncate(len(self._header) + self._count * self._record.itemsize)

    def _read_digests(self, count: int) -> int:
        """Read the digests of the records before the first invalid one; return the number of these records.

        The map of the file is closed at the end: Windows cannot truncate a mapped file.
        """
        for row, record in enumerate(self._mapped(count)):
            if _checksum(record) != record["check"]:
                return row
            self.rows[record["digest"].tobytes()] = row
        return count

    def _mapped(self, count: int) -> Array:
        if not count:
            return np.empty(0, self._record)
        return np.memmap(self._file, self._record, "r", len(self._header), (count,))

    def add(self, digest: bytes, features: Array) -> None:
        """Append a record. Raises: DataError if the features are not finite in the stored type."""
        record = np.zeros((), self._record)
        with np.errstate(over="ignore"):
            record["numbers"] = features
        if not np.isfinite(record["numbers"]).all():
            kind = self._record["numbers"].base
            raise DataError(
                f"features: expected numbers in the range of {kind}, got {np.abs(features).max():g}; try float32"
            )
        record["digest"] = np.void(digest)
        record["check"] = _checksum(record)
        self._file.write(record.tobytes())
        self._file.flush()
        self.rows[digest] = self._count
        self._count += 1

    def features(self) -> Array:
        """Memory-map all features; the file stays locked as long as the map exists.

        Shapes: (rows, F).
        """
        numbers: Array = self._mapped(self._count)["numbers"]
        return numbers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._file.close()


def is_feature_store(path: Path) -> bool:
    """Return whether a file is a `FeatureStore`; False if it cannot be read."""
    try:
        with regular_file(path) as descriptor:
            return os.read(descriptor, len(MAGIC)) == MAGIC
    except DataError:
        return False


def _checksum(record: np.void | Array) -> int:
    return zlib.crc32(record["numbers"].tobytes(), zlib.crc32(record["digest"].tobytes()))
