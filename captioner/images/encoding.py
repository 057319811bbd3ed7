"""Encoding of many photographs by several threads."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.errors import CaptionerError, DataError
from captioner.images.encoder import Encoder
from captioner.images.photo import BYTES, decoded
from captioner.parallel.blas import limit_worker
from captioner.storage.files import read_bytes

AHEAD = 4
"""Maximum number of photographs per thread read ahead of the output."""


class Encoded(NamedTuple):
    """A photograph with the digest of its file and its features (F,), or the error why it has none.

    With regions, `regions` has those of the photograph (rows, columns, R).
    """

    path: Path
    digest: bytes
    features: NDArray[np.float32] | None
    problem: CaptionerError | None = None
    regions: NDArray[np.float32] | None = None


def encode_photos(
    encoder: Encoder, paths: Iterable[Path], threads: int = 1, known: Iterable[bytes] = (), regions: bool = False
) -> Generator[Encoded, None, None]:
    """Encode photographs in order, with `regions` their regions too, if the encoder has any.

    Photographs whose digest is in `known` are read but not encoded.
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
                found, grid = encode_prepared(encoder, prepared, regions)
            return Encoded(path, digest, found, regions=grid)
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


def encode_prepared(
    encoder: Encoder, prepared: Any, regions: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Encode one prepared photograph, with `regions` its regions too, if the encoder has any.

    Shapes: features (F,), regions (rows, columns, R).
    """
    shape = encoder.regions if regions else None
    if shape is None:
        return encoder.encode([prepared])[0], None
    features, grid = encoder.encode_with_regions([prepared])
    return features[0], np.asarray(grid).reshape(shape)


def _decode_and_prepare(encoder: Encoder, content: bytes, path: Path) -> Any:
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
