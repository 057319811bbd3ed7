"""Encoding of many photographs by several threads, with a resumable store of features."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array
from captioner.errors import CaptionerError, DataError, UsageError
from captioner.images.encoder import Encoder
from captioner.images.photo import BYTES, decoded
from captioner.parallel.blas import limit_worker
from captioner.storage.files import irregular_kind, read_bytes, regular_file
from captioner.storage.lock import lock

MAGIC = b"captioner encodings "
AHEAD = 4
"""Maximum number of photographs per thread read ahead of the output."""


class Encoded(NamedTuple):
    """A photograph with the digest of its file and its features (F,), or the error why it has none."""

    path: Path
    digest: bytes
    features: NDArray[np.float32] | None
    problem: CaptionerError | None = None


def encode_photos(
    encoder: Encoder, paths: Iterable[Path], threads: int = 1, known: Iterable[bytes] = ()
) -> Generator[Encoded, None, None]:
    """Encode photographs in order; those whose digest is in `known` are read but not encoded.

    A photograph that cannot be read is returned with its error and does not stop the others.
    """
    done = set(known)

    def work(path: Path) -> Encoded:
        digest = b""
        try:
            content = read_bytes(path, BYTES, expected="a photograph")
            digest = hashlib.sha256(content).digest()
            if digest in done:
                return Encoded(path, digest, None)
            prepared = _decode_and_prepare(encoder, content, path)
            with _naming(path):
                return Encoded(path, digest, encoder.encode(prepared[None])[0])
        except DataError as problem:
            return Encoded(path, digest, None, problem)

    waiting: deque[Future[Encoded]] = deque()
    pool = ThreadPoolExecutor(threads, "encode", limit_worker)
    try:
        for path in paths:
            waiting.append(pool.submit(work, path))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _decode_and_prepare(encoder: Encoder, content: bytes, path: Path) -> NDArray[Any]:
    # a function, so that the decoded photograph is deleted when it no longer counts against the budget of pixels
    with decoded(content, str(path), encoder.side) as photo, _naming(path):
        return encoder.prepare(photo)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Add the name of the photograph to an error of the encoder."""
    try:
        yield
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from problem


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
