"""Image encoders: photograph -> model input -> feature vector and regions, for one photograph and many.

An encoder opens with `captioner.photos.recipes.open_encoder`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from captioner.data.corpus import MAX_FEATURE
from captioner.data.scene import SIDE
from captioner.data.scenes import ENCODER, FEATURES, GRID, REGION, encode_regions, first_objects
from captioner.errors import DataError, UsageError
from captioner.files.user_files import read_bytes
from captioner.photos.photo import BYTES, decode_picture, shrink, square

T = TypeVar("T")
U = TypeVar("U")
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


class Decoded(NamedTuple):
    """A photograph with the digest of its picture, decoded for an encoder."""

    path: Path
    digest: bytes
    photo: Image


class Encoded(NamedTuple):
    """A photograph with the digest of its picture, its shorter side (at most that of the encoder's input), its features
    (F,) and, if asked for, its regions (rows, columns, R).
    """

    path: Path
    digest: bytes
    side: int
    features: NDArray[np.float32]
    regions: NDArray[np.float32] | None = None


def decode_for(encoder: Encoder, path: Path, content: bytes | None = None, photo_side: int = 0) -> Decoded:
    """Decode a photograph, by default that of the file, and shrink it to a shorter side of `photo_side` if it is
    larger: enlarged from there to the input of the encoder, it is as blurred as the training photographs. With 0, it is
    not shrunk.

    Raises: DataError with its path if it cannot be read or decoded.
    """
    side = min(photo_side or encoder.side, encoder.side)
    content = read_bytes(path, BYTES, expected="a photograph") if content is None else content
    photo, digest = decode_picture(content, str(path), side)
    return Decoded(path, digest, shrink(photo, side) if side < encoder.side else photo)


def encode_decoded(encoder: Encoder, decoded: Decoded) -> Encoded:
    """Encode a decoded photograph. Raises: DataError with its path if it cannot be encoded."""
    prepared = encoder.prepare(decoded.photo)
    try:
        features, regions = encoder.encode(prepared)
    except DataError as error:  # of the encoder, which does not know the photograph
        raise DataError(f"{decoded.path}: {error}") from None
    for array in (features, regions):
        if array is not None and not (np.abs(array) <= MAX_FEATURE).all():
            raise DataError(
                f"{decoded.path}: {encoder.identity}: expected features of at most {MAX_FEATURE:g}, got others"
            )
    return Encoded(decoded.path, decoded.digest, min(*decoded.photo.size, encoder.side), features, regions)


def encode_photos(
    encoder: Encoder,
    photos: Iterable[Path | DataError],
    threads: int = 1,
    regions: bool = False,
    photo_side: int = 0,
) -> Generator[Encoded | DataError, None, None]:
    """Encode photographs in order with several threads, with `regions` their regions too, if the encoder has any.

    `photo_side` is that of `decode_for`. Errors are those of `in_threads`.
    """

    def work(photo: Path) -> Encoded:
        encoded = encode_decoded(encoder, decode_for(encoder, photo, photo_side=photo_side))
        return encoded if regions else encoded._replace(regions=None)

    return in_threads(work, photos, threads)


def in_threads(
    work: Callable[[Path], T], photos: Iterable[Path | U], threads: int = 1
) -> Generator[T | U | DataError, None, None]:
    """Call a function for each photograph with several threads, and yield the results in order.

    The error of a photograph that cannot be read or encoded is yielded in its place; it names the photograph. What is
    no path among the photographs, such as an error, is yielded unchanged.
    """

    def try_work(photo: Path | U) -> T | U | DataError:
        if not isinstance(photo, Path):
            return photo
        try:
            return work(photo)
        except DataError as error:
            return error.with_traceback(None)  # whose frames would keep the content as long as the error
        except MemoryError:
            return DataError(f"{photo}: not enough memory to encode this photograph")

    waiting: deque[Future[T | U | DataError]] = deque()
    pool = ThreadPoolExecutor(threads, "encode")
    try:
        for photo in photos:
            waiting.append(pool.submit(try_work, photo))
            if len(waiting) > AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
