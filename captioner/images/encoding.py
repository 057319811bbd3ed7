"""Many photographs, encoded by several threads; what was encoded once is kept and not encoded again."""

from __future__ import annotations

import fcntl
import hashlib
import os
import zlib
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array
from captioner.errors import CaptionerError, DataError, UsageError
from captioner.images.encoder import Encoder
from captioner.images.photo import BYTES, decode
from captioner.storage.files import irregular_kind, read_bytes

MAGIC = b"captioner encodings "
AHEAD = 4
"""Photographs a thread that are in work before their turn."""


class Encoded(NamedTuple):
    """A photograph with the digest of its file and its features (F,), or with the reason why it has none."""

    path: Path
    digest: bytes
    features: NDArray[np.float32] | None
    problem: CaptionerError | None = None


def encode_photos(
    encoder: Encoder, paths: Iterable[Path], threads: int = 1, known: Iterable[bytes] = ()
) -> Generator[Encoded, None, None]:
    """Encode photographs in their order; those whose digest is `known` are read but not encoded.

    One that cannot be read comes with its problem, and the others go on.
    """
    done = set(known)

    def work(path: Path) -> Encoded:
        digest = b""
        try:
            content = read_bytes(path, BYTES)
            digest = hashlib.sha256(content).digest()
            if digest in done:
                return Encoded(path, digest, None)
            photo = decode(content, str(path), encoder.side)
        except DataError as problem:
            return Encoded(path, digest, None, problem)
        try:
            return Encoded(path, digest, encoder.encode(encoder.prepare(photo)[None])[0])
        except DataError as problem:
            return Encoded(path, digest, None, DataError(f"{path}: {problem}"))

    waiting: deque[Future[Encoded]] = deque()
    pool = ThreadPoolExecutor(threads, "encode")
    try:
        for path in paths:
            waiting.append(pool.submit(work, path))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class Store:
    """Features by the digest of their photographs, in a file that grows record by record and survives any end.

    A record is the digest (32 bytes), a checksum of all the rest (4) and the numbers. What the last writer left half
    done is cut off, and the work of another encoder is thrown away. Use it in a `with` block.

    Raises: UsageError when another process writes it, or it is a file of another kind; OSError.
    """

    def __init__(self, path: Path, encoder: str, width: int, dtype: np.dtype[np.floating]) -> None:
        self.path = path
        self._record = np.dtype([("digest", "V32"), ("check", "<u4"), ("numbers", dtype.newbyteorder("<"), (width,))])
        who = hashlib.sha256(f"{encoder} {width} {dtype}".encode()).hexdigest()
        self._header = MAGIC + f"{who}\n".encode()
        self._file = open(path, "a+b")  # noqa: SIM115 - closed by __exit__
        self.rows: dict[bytes, int] = {}
        """Of every digest, its row."""
        self.discarded = False
        """Whether there was work of another encoder."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._recover()
        except BaseException as error:
            self._file.close()
            if isinstance(error, BlockingIOError):
                raise UsageError(f"{path}: another process encodes into this file; wait for it") from None
            raise

    def _recover(self) -> None:
        if kind := irregular_kind(os.fstat(self._file.fileno())):
            raise UsageError(f"{self.path}: expected a file to keep what is encoded, got {kind}; move it away")
        self._file.seek(0)
        header = self._file.read(len(self._header))
        if header[: len(MAGIC)] != MAGIC[: len(header)]:
            raise UsageError(f"{self.path}: expected what an earlier run encoded, got another file; move it away")
        if header != self._header:
            self.discarded = len(header) == len(self._header) and bool(self._file.read(1))
            self._file.truncate(0)
            self._file.write(self._header)
            self._file.flush()
        count = (self._file.seek(0, os.SEEK_END) - len(self._header)) // self._record.itemsize
        records = self._mapped(count)
        for row, record in enumerate(records):
            if _checksum(record) != record["check"]:
                count = row
                break
            self.rows[record["digest"].tobytes()] = row
        del records
        self._file.truncate(len(self._header) + count * self._record.itemsize)
        self._count = count

    def _mapped(self, count: int) -> Array:
        if not count:
            return np.empty(0, self._record)
        return np.memmap(self._file, self._record, "r", len(self._header), (count,))

    def add(self, digest: bytes, features: Array) -> None:
        """Raises: DataError when the numbers are too large for their type."""
        record = np.zeros((), self._record)
        with np.errstate(over="ignore"):
            record["numbers"] = features
        if not np.isfinite(record["numbers"]).all():
            kind = self._record["numbers"].base
            raise DataError(
                f"features: expected numbers that {kind} can hold, got {np.abs(features).max():g}; try float32"
            )
        record["digest"] = np.void(digest)
        record["check"] = _checksum(record)
        self._file.write(record.tobytes())
        self._file.flush()
        self.rows[digest] = self._count
        self._count += 1

    def features(self) -> Array:
        """All features by row, as pages of the file, which stays locked as long as somebody holds them.

        Shapes: (rows, F).
        """
        numbers: Array = self._mapped(self._count)["numbers"]
        return numbers

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._file.close()


def _checksum(record: np.void | Array) -> int:
    return zlib.crc32(record["numbers"].tobytes(), zlib.crc32(record["digest"].tobytes()))
