"""Pictures in HTML pages as data URIs, and the attention of a caption as shapes over its picture."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array
from captioner.captioning.caption import Attention
from captioner.data.corpus import Corpus
from captioner.errors import DataError, MissingLibraryError, printable
from captioner.preparation.find_photos import check_images_folder, find_all

try:
    from PIL import Image

    from captioner.images.photo import read_photo, square
except ImportError as error:
    raise MissingLibraryError(error, extra="report") from error  # pages need Pillow, but no encoder

Picture: TypeAlias = NDArray[np.uint8] | Path | None
"""The pixels of an image, the path of a photograph, or None if neither is known."""
FAINT = 0.14
"""The opacity of a region without weight: low, but its content can be recognized."""
LEVELS = 20
"""Steps of opacity: cells of one step share an SVG path, so that a page of many maps remains small."""
MAX_WORD = 40


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
    if not isinstance(picture, Path):
        return _encode(Image.fromarray(picture), "png")
    image = read_photo(picture, side if is_square else side // 2)
    if is_square:
        image = square(image.convert("RGB"), side)
    else:
        image.thumbnail((side, side))
    return _encode(image, "jpeg")


def embed_or_none(picture: Picture, side: int, is_square: bool) -> Embedded | None:
    """Embed a picture, or return None if there is none or it cannot be read."""
    try:
        return None if picture is None else embed(picture, side, is_square)
    except DataError:
        return None


def _encode(image: Image.Image, kind: str) -> Embedded:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return Embedded(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", *image.size)


def pictures_of_split(corpus: Corpus, name: str, images: Path | None) -> Callable[[int], Picture]:
    """Return a function that finds the picture of an image of a split by its row.

    Generated scenes have pictures. Photographs are read only from the folder `images`: a data set may be untrusted and
    a page may be shared, so neither the folder that the data set names nor a path outside `images` is read.

    Raises: UsageError if there is no such folder.
    """
    check_images_folder(images)
    split = corpus.split(name)
    if split.picture is not None:
        return split.picture
    names = [image for any_split in corpus.splits.values() for image in any_split.image_ids]
    photos = {} if images is None else find_all(images, names)
    return lambda row: photos.get(split.image_ids[row])


class Overlay(NamedTuple):
    """Cells that hide the picture with one opacity, as SVG path data in units of cells."""

    opacity: float
    path: str


class WordMap(NamedTuple):
    """The attention of one word: what hides the picture, the strongest cell, and the weights."""

    word: str
    overlays: list[Overlay]
    row: int
    column: int
    strongest: float
    sentinel: float


def word_maps(attention: Attention) -> list[WordMap]:
    """Draw the attention of each word of a caption."""
    maps = []
    for word, weights, sentinel in zip(attention.words, attention.maps, attention.sentinel.tolist(), strict=True):
        row, column = divmod(int(weights.argmax()), weights.shape[1])
        hidden = np.rint((1 - visibility(weights, sentinel)) * LEVELS).astype(int)
        levels = [level for level in np.unique(hidden).tolist() if level > 0]
        overlays = [Overlay(level / LEVELS, _cells(hidden == level)) for level in levels]
        maps.append(WordMap(printable(word, MAX_WORD), overlays, row, column, float(weights.max()), sentinel))
    return maps


def visibility(map_: Array, sentinel: float) -> Array:
    """Return the opacity of each region: relative to the strongest one, and low if the sentinel has most of the weight.

    Shapes: map_ (rows, columns) -> (rows, columns), from 0 to 1.
    """
    opacity: Array = FAINT + (1 - FAINT) * (1 - sentinel) * map_ / max(float(map_.max()), 1e-12)
    return opacity.clip(0, 1)


def _cells(chosen: Array) -> str:
    """Return a path of the chosen cells; neighbours in a row are one rectangle."""
    parts = []
    for row, line in enumerate(chosen):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(int), [0])))).tolist()
        parts += [f"M{a} {row}h{b - a}v1h{a - b}z" for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return "".join(parts)
