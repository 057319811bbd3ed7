"""A resumable store of features and regions."""

from __future__ import annotations

import hashlib
import os
import zlib
from pathlib import Path
from typing import Self

import numpy as np

from captioner.arrays import Array
from captioner.errors import DataError, UsageError
from captioner.storage.files import irregular_kind, read_start
from captioner.storage.lock import lock

MAGIC = b"captioner encodings "


class FeatureStore:
    """An append-only file of features by the digest of their photographs, valid after an interruption.

    A record is the digest (32 bytes), a checksum of the rest (4), the features and, if `regions` is the shape of an
    image's regions, these. An incomplete last record is truncated, and records of another encoder, type or shape are
    discarded. Use it in a `with` block.

    Raises: UsageError if another process writes it, or the file is of another kind; OSError.
    """

    def __init__(
        self, path: Path, encoder: str, width: int, dtype: np.dtype[np.floating], regions: tuple[int, ...] | None = None
    ) -> None:
        self.path, self._dtype = path, dtype
        shapes = {"features": (width,), **({"regions": regions} if regions else {})}
        numbers = [(name, dtype.newbyteorder("<"), shape) for name, shape in shapes.items()]
        self._numbers = list(shapes)
        self._record = np.dtype([("digest", "V32"), ("check", "<u4"), *numbers])
        grid = f" {regions}" if regions else ""
        encoder_digest = hashlib.sha256(f"{encoder} {width} {dtype}{grid}".encode()).hexdigest()
        self._header = MAGIC + f"{encoder_digest}\n".encode()
        self._file = open(path, "a+b")  # noqa: SIM115 - closed by __exit__
        self.rows: dict[bytes, int] = {}
        """The row of each digest."""
        self.discarded = False
        """Whether records of another encoder, type or shape were discarded."""
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
            if self._checksum(record) != record["check"]:
                return row
            self.rows[record["digest"].tobytes()] = row
        return count

    def _mapped(self, count: int) -> Array:
        if not count:
            return np.empty(0, self._record)
        return np.memmap(self._file, self._record, "r", len(self._header), (count,))

    def add(self, digest: bytes, features: Array, regions: Array | None = None) -> None:
        """Append a record. Raises: DataError if a number is not finite in the stored type."""
        record = np.zeros((), self._record)
        for name, values in zip(self._numbers, (features, regions), strict=False):
            with np.errstate(over="ignore"):
                record[name] = values
            if not np.isfinite(record[name]).all():
                largest = np.abs(np.asarray(values)).max()
                raise DataError(f"{name}: expected numbers in the range of {self._dtype}, got {largest:g}; try float32")
        record["digest"] = np.void(digest)
        record["check"] = self._checksum(record)
        self._file.write(record.tobytes())
        self._file.flush()
        self.rows[digest] = self._count
        self._count += 1

    def features(self) -> Array:
        """Memory-map all features; the file stays locked as long as the map exists.

        Shapes: (images, F).
        """
        features: Array = self._mapped(self._count)["features"]
        return features

    def regions(self) -> Array | None:
        """Memory-map all regions, as `features`; None if the store has none.

        Shapes: (images, rows, columns, R).
        """
        return self._mapped(self._count)["regions"] if "regions" in self._numbers else None

    def _checksum(self, record: np.void | Array) -> int:
        check = zlib.crc32(record["digest"].tobytes())
        for name in self._numbers:
            check = zlib.crc32(record[name].tobytes(), check)
        return check

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._file.close()


def is_feature_store(path: Path) -> bool:
    """Return whether a file is a `FeatureStore`; False if it cannot be read."""
    return read_start(path, len(MAGIC)) == MAGIC
