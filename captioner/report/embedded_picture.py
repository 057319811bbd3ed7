"""Pictures in HTML pages, as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from captioner.images.photo import read_photo, square

SMALL = 128
"""The longest side of a picture that is encoded without loss, such as a generated scene."""


class Embedded(NamedTuple):
    """A picture as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def embed(picture: NDArray[np.uint8] | Path, side: int, is_square: bool = False) -> Embedded:
    """Embed a picture: pixels as PNG, a photograph as JPEG with sides of at most `side` pixels.

    With `is_square`, a photograph is cropped like for an encoder, whose regions then form a grid over it.

    Raises: DataError for a photograph that cannot be read.
    """
    if isinstance(picture, Path):
        kind, image = "jpeg", read_photo(picture, side if is_square else side // 2)
        if is_square:
            image = square(image.convert("RGB"), side)
        else:
            image.thumbnail((side, side))
    else:
        kind, image = "png", Image.fromarray(picture)
    return _encode(image, kind)


def image_to_data_uri(image: Image.Image, side: int, is_square: bool = False) -> str:
    """Return a decoded photograph, or with `is_square` its centre, as a data URI with sides of at most `side` pixels.

    A small one keeps its pixels.
    """
    kind = "png" if max(image.size) <= SMALL else "jpeg"
    if is_square:
        image = square(image, min(side, *image.size))
    elif max(image.size) > side:
        image = ImageOps.contain(image, (side, side))
    return _encode(image, kind).uri


def _encode(image: Image.Image, kind: str) -> Embedded:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return Embedded(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", *image.size)


def to_data_uri(picture: NDArray[np.uint8] | Path, side: int) -> str:
    """Return a picture as a data URI, as `embed`.

    Raises: DataError for a photograph that cannot be read.
    """
    return embed(picture, side).uri
