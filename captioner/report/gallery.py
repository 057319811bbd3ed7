"""The gallery of a report: images of a split with their captions.

A picture is a data URI, and the attention of a word is another one over it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array, evenly_spaced
from captioner.captioning.caption import Attention, Candidate, Caption
from captioner.captioning.captioner import BEST_ALONE, Captioner
from captioner.captioning.load import shares_of_split
from captioner.data.corpus import Corpus
from captioner.errors import DataError, MissingLibraryError, UsageError, printable
from captioner.preparation.image_folders import check_images_folder, find_all

try:
    from PIL import Image

    from captioner.photos.photo import read_photo, square
except ImportError as error:
    raise MissingLibraryError(error, extra="report") from error  # pages need Pillow, but no encoder

Picture: TypeAlias = NDArray[np.uint8] | Path | None
"""The pixels of an image, the path of a photograph, or None if neither is known."""
FAINT = 0.14
"""The opacity of a region without weight: low, but its content can be recognized."""
MAX_WORD = 40


class Embedded(NamedTuple):
    """A picture as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def embed(picture: Picture, side: int, is_square: bool) -> Embedded | None:
    """Embed a picture: pixels as PNG, a photograph as JPEG with sides of at most `side` pixels.

    With `is_square`, a photograph is cropped like for an encoder, whose regions then form a grid over it. Returns None
    if there is no picture, or the photograph cannot be read.
    """
    if picture is None:
        return None
    if not isinstance(picture, Path):
        return _encode(Image.fromarray(picture), "png")
    try:
        image = read_photo(picture, side if is_square else side // 2)
    except DataError:
        return None
    if is_square:
        image = square(image.convert("RGB"), side)
    else:
        image.thumbnail((side, side))
    return _encode(image, "jpeg")


def _encode(image: Image.Image, kind: str) -> Embedded:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return Embedded(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}", *image.size)


def pictures_of_split(corpus: Corpus, name: str, images: Path | None) -> Callable[[int], Picture]:
    """Return a function that finds the picture of an image of a split by its row.

    Generated scenes have pictures. Photographs are read only from the folder `images`: a data set may be untrusted and
    a page may be shared, so neither the folder that the data set names nor a path outside `images` is read.

    Raises: UsageError if there is no such folder, or for a folder of generated scenes.
    """
    check_images_folder(images)
    split = corpus.split(name)
    if split.picture is not None:
        if images is not None:
            raise UsageError(f"--images {images}: has no effect on generated scenes, which are drawn")
        return split.picture
    names = [image for any_split in corpus.splits.values() for image in any_split.image_ids]
    photos = {} if images is None else find_all(images, names)
    if images is not None and isinstance(corpus.about.get("images"), list):  # SOURCE/NAME: NAME alone may be another's
        photos = {name: p for name, p in photos.items() if p and len(p.relative_to(images).parts) > name.count("/")}
    return lambda row: photos.get(split.image_ids[row])


class WordMap(NamedTuple):
    """The attention of one word: a picture of one pixel per region that hides the others, the strongest region, and the
    weights.
    """

    word: str
    veil: str
    row: int
    column: int
    strongest: float
    sentinel: float


def word_maps(attention: Attention) -> list[WordMap]:
    """Draw the attention of each word of a caption."""
    maps = []
    for word, weights, sentinel in zip(attention.words, attention.maps, attention.sentinel.tolist(), strict=True):
        row, column = divmod(int(weights.argmax()), weights.shape[1])
        hidden = np.rint(255 * (1 - visibility(weights, sentinel))).astype(np.uint8)
        white = Image.fromarray(np.stack([np.full_like(hidden, 255), hidden], axis=2))
        veil = _encode(white, "png").uri
        maps.append(WordMap(printable(word, MAX_WORD), veil, row, column, float(weights.max()), sentinel))
    return maps


def visibility(map_: Array, sentinel: float) -> Array:
    """Return the opacity of each region: relative to the strongest one, and low if the sentinel has most of the weight.

    Shapes: map_ (rows, columns) -> (rows, columns), from 0 to 1.
    """
    opacity: Array = FAINT + (1 - FAINT) * (1 - sentinel) * map_ / max(float(map_.max()), 1e-12)
    return opacity.clip(0, 1)


SIDE = 320
"""The longest side of a photograph in pixels."""
MAX_NAME, MAX_TEXT = 80, 400
"""Maximum characters of a name, and of a caption or reference: longer ones are shortened in the middle."""
MAX_REFERENCES = 10


class Scored(NamedTuple):
    """What is known of an image: its score, and its mark, which is `best`, `worst` or empty."""

    cider: float
    mark: str


class GalleryEntry(NamedTuple):
    """An image of the gallery: its caption with texts of limited length, and the attention of each word."""

    row: int
    caption: Caption
    picture: Embedded | None
    words: list[WordMap]
    scored: Scored


@dataclass(frozen=True)
class Gallery:
    """Images of a split: those shown, best first, and how many there are."""

    split: str
    entries: Sequence[GalleryEntry]
    total: int

    @property
    def missing(self) -> int:
        """The number of images shown whose picture is unknown or cannot be read."""
        return sum(entry.picture is None for entry in self.entries)

    @property
    def counts(self) -> str:
        """How many images are shown, and in which order."""
        count, what = len(self.entries), f"images of {printable(self.split, MAX_NAME)}, best first by CIDEr-D"
        if count == self.total:
            return f"All {count:,} {what}"
        return f"{count:,} of {self.total:,} {what}: the best, the worst, and some between them"

    @property
    def legend(self) -> str:
        """What the numbers and the small pictures mean, in sentences."""
        attention = (
            " The small pictures show where the model attends when it predicts the word: the rest is hidden. The bar "
            "below each is the weight of the sentinel, the alternative to all regions."
            if any(entry.words for entry in self.entries)
            else ""
        )
        return f"log p is the log-probability of the caption.{attention}"


def choose(scores: Array, count: int) -> dict[int, Scored]:
    """Choose the best and the worst images, and between them images at even distances; best first.

    Shapes: scores (N,) -> at most `count` numbers below N.
    """
    order = np.argsort(-scores, kind="stable").tolist()
    ends = min(count // 3, len(order) // 3) or min(1, len(order) // 2)
    best, between, worst = order[:ends], order[ends : len(order) - ends], order[len(order) - ends :]
    shown = [*best, *(between[i] for i in evenly_spaced(len(between), max(0, count - 2 * ends))), *worst][:count]
    marks = {**dict.fromkeys(best, "best"), **dict.fromkeys(worst, "worst")}
    return {number: Scored(float(scores[number]), marks.get(number, "")) for number in shown}


def build_gallery(
    captioner: Captioner,
    corpus: Corpus,
    name: str,
    pictures: Callable[[int], Picture],
    rows: Mapping[int, Scored],
) -> Gallery:
    """Caption images of a split, in the order of `rows` with their scores: candidates and attention of each."""
    split, attends = corpus.split(name), captioner.loaded.model.attends
    ordered = np.array(sorted(rows), int)
    scored = captioner.with_options({**BEST_ALONE, "caption.attention": attends})
    shares = shares_of_split(captioner.loaded, corpus, name)
    first = scored.decode(split.features, split.regions, ordered, shares)
    more = captioner.decode(split.features, split.regions, ordered, shares)
    entries: dict[int, GalleryEntry] = {}
    for row, caption, several in zip(ordered.tolist(), first, more, strict=True):
        shown = caption._replace(
            image=shown_name(split.image_ids[row]),
            text=printable(caption.text, MAX_TEXT),
            references=[shown_text(text) for text in split.references(row, corpus.vocab)[:MAX_REFERENCES]],
            correct=None if split.is_correct is None else split.is_correct(row, caption.text.split()),
            candidates=[Candidate(printable(text, MAX_TEXT), log_prob) for text, log_prob in several.candidates],
        )
        words = [] if caption.attention is None else word_maps(caption.attention)
        entries[row] = GalleryEntry(row, shown, embed(pictures(row), SIDE, attends), words, rows[row])
    return Gallery(name, [entries[row] for row in rows], len(split.captioned_images))


def shown_name(name: str) -> str:
    """Return the name of an image without an absolute path, which is that of a machine, and of limited length."""
    path = PurePath(name)
    return printable(path.name if path.is_absolute() else name, MAX_NAME)


def shown_text(text: str) -> str:
    """Return a caption or reference as one line of limited length."""
    return printable(" ".join(text[: 4 * MAX_TEXT].split()), MAX_TEXT)
