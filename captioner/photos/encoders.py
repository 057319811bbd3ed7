"""Image encoders: photograph -> model input -> feature vector and regions, for one photograph and many.

An encoder opens with `captioner.photos.recipes.open_encoder`.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from captioner.data.corpus import MAX_FEATURE
from captioner.data.scene import SIDE
from captioner.data.scenes import ENCODER, FEATURES, GRID, REGION, encode_regions, first_objects
from captioner.errors import DataError, UsageError
from captioner.files.user_files import read_bytes
from captioner.photos.photo import BYTES, decode_photo, shrink, square

AHEAD = 4
"""Maximum number of photographs per thread read ahead of the output."""


class Encoder(Protocol):
    """An image encoder; `identity` contains everything that affects its features.

    All methods are thread-safe.
    """

    identity: str
    width: int
    """Feature dimension (F)."""
    side: int
    """Side of the square input, in pixels."""
    regions: tuple[int, int, int] | None
    """Rows and columns of the grid of regions, and the region dimension (R); None for an encoder without regions."""

    def prepare(self, photo: Image) -> Any:
        """Resize, crop and scale one photograph to the model's input."""

    def encode(self, prepared: Any) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the features of one prepared photograph, and its regions from the same pass, if the encoder has any.

        Shapes: features (F,), regions (rows, columns, R).
        """


class ScenesEncoder:
    """The encoder of the generated scenes, for 64 x 64 pixels, in NumPy."""

    identity = ENCODER
    width = FEATURES
    side = SIDE
    regions: tuple[int, int, int] | None = (GRID, GRID, REGION)

    def prepare(self, photo: Image) -> NDArray[np.uint8]:
        return np.asarray(square(photo, SIDE))

    def encode(self, prepared: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        codes = encode_regions(prepared[None])
        return first_objects(codes)[0], codes.reshape(GRID, GRID, REGION)


def open_scenes(name: str, file: str, options: Mapping[str, str]) -> Encoder:
    """Open the encoder `scenes`. Raises: UsageError for options."""
    if options:
        raise UsageError(f"encoder {name}: option {min(options)}: unknown; expected no options")
    return ScenesEncoder()


class Encoded(NamedTuple):
    """A photograph with the digest of its file, its shorter side (at most that of the encoder's input), its features
    (F,) and, if asked for, its regions (rows, columns, R).
    """

    path: Path
    digest: bytes
    side: int
    features: NDArray[np.float32]
    regions: NDArray[np.float32] | None = None


def encode_photo(encoder: Encoder, path: Path, content: bytes, photo_side: int = 0) -> Encoded:
    """Encode the photograph in `content`, shrunk to a shorter side of `photo_side` if it is larger: enlarged from there
    to the input of the encoder, it is as blurred as the training photographs. With 0, it is not shrunk.

    Raises: DataError with its path if it cannot be decoded or encoded.
    """
    side = min(photo_side or encoder.side, encoder.side)
    photo = decode_photo(content, str(path), side)
    photo = shrink(photo, side) if side < encoder.side else photo
    prepared = encoder.prepare(photo)
    try:
        features, regions = encoder.encode(prepared)
    except DataError as error:  # of the encoder, which does not know the photograph
        raise DataError(f"{path}: {error}") from None
    for array in (features, regions):
        if array is not None and not (np.abs(array) <= MAX_FEATURE).all():
            raise DataError(f"{path}: {encoder.identity}: expected features of at most {MAX_FEATURE:g}, got others")
    return Encoded(path, hashlib.sha256(content).digest(), min(*photo.size, encoder.side), features, regions)


def encode_photos(
    encoder: Encoder,
    photos: Iterable[Path | DataError],
    threads: int = 1,
    regions: bool = False,
    photo_side: int = 0,
) -> Generator[Encoded | DataError, None, None]:
    """Encode photographs in order with several threads, with `regions` their regions too, if the encoder has any.

    `photo_side` is that of `encode_photo`.

    The error of a photograph that cannot be read or encoded is yielded in its place; it names the photograph. Errors
    among the photographs are yielded unchanged.
    """

    def work(photo: Path | DataError) -> Encoded | DataError:
        if isinstance(photo, DataError):
            return photo
        try:
            content = read_bytes(photo, BYTES, expected="a photograph")
            encoded = encode_photo(encoder, photo, content, photo_side)
        except DataError as error:
            return error.with_traceback(None)  # whose frames would keep the content as long as the error
        except MemoryError:
            return DataError(f"{photo}: not enough memory to encode this photograph")
        return encoded if regions else encoded._replace(regions=None)

    waiting: deque[Future[Encoded | DataError]] = deque()
    pool = ThreadPoolExecutor(threads, "encode")
    try:
        for photo in photos:
            waiting.append(pool.submit(work, photo))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
