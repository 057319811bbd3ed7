"""Images with captions: the gallery of a report, and pages of a data set and of attention maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.captioning.caption import Candidate, Caption
from captioner.captioning.captioner import BEST_ALONE, Captioner
from captioner.data.corpus import Corpus
from captioner.errors import DataError, printable
from captioner.files.atomic import write_file
from captioner.files.user_files import check_output
from captioner.preparation.inspect_data import Example
from captioner.report.chart import pick_evenly
from captioner.report.pictures import Embedded, Picture, WordMap, embed, embed_or_none, pictures_of_split, word_maps
from captioner.report.template import is_page, load_script, render

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
    scored: Scored | None


@dataclass(frozen=True)
class Gallery:
    """Images of a split: those shown, best first if they are scored, and how many there are."""

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
        count, split = len(self.entries), f" of {printable(self.split, MAX_NAME)}" if self.split else ""
        order = ", best first by CIDEr-D" if self.is_scored else ""
        if count == self.total:
            return f"All {count:,} images{split}{order}"
        between = ": the best, the worst, and some between them" if order else ""
        return f"{count:,} of {self.total:,} images{split}{order}{between}"

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

    @property
    def is_scored(self) -> bool:
        """Whether any image has a score."""
        return any(entry.scored for entry in self.entries)


def choose(scores: Array, count: int) -> dict[int, Scored]:
    """Choose the best and the worst images, and between them images at even distances; best first.

    Shapes: scores (N,) -> at most `count` numbers below N.
    """
    order = np.argsort(-scores, kind="stable").tolist()
    ends = min(count // 3, len(order) // 3) or min(1, len(order) // 2)
    best, between, worst = order[:ends], order[ends : len(order) - ends], order[len(order) - ends :]
    shown = [*best, *pick_evenly(between, count - 2 * ends), *worst][:count]
    marks = {**dict.fromkeys(best, "best"), **dict.fromkeys(worst, "worst")}
    return {number: Scored(float(scores[number]), marks.get(number, "")) for number in shown}


def build_gallery(
    captioner: Captioner,
    corpus: Corpus,
    name: str,
    pictures: Callable[[int], Picture],
    rows: Mapping[int, Scored],
    captions: Mapping[int, str],
) -> Gallery:
    """Caption images of a split, in the order of `rows`, with `caption.n_best` candidates and the attention.

    `rows` have the scores of the images, and `captions` those that were scored; attention is omitted where the caption
    is another one.
    """
    split, attends = corpus.split(name), captioner.loaded.model.attends
    ordered = np.array(sorted(rows), int)
    scored = captioner.with_options({**BEST_ALONE, "caption.attention": attends})
    first = scored.decode(split.features, split.regions, ordered)
    more = captioner.decode(split.features, split.regions, ordered)
    entries: dict[int, GalleryEntry] = {}
    for row, caption, several in zip(ordered.tolist(), first, more, strict=True):
        caption = caption._replace(image=split.image_ids[row], references=split.references(row, corpus.vocab))
        if captions[row] != caption.text:
            caption = caption._replace(text=captions[row], log_prob=float("nan"), attention=None)
        correct = None if split.is_true is None else split.is_true(row, caption.text.split())
        caption = caption._replace(correct=correct, candidates=several.candidates)
        picture = embed_or_none(pictures(row), SIDE, attends)
        entries[row] = gallery_entry(row, caption, picture, rows[row])
    return Gallery(name, [entries[row] for row in rows], len(split.captioned_images))


def gallery_entry(
    number: int, caption: Caption, picture: Embedded | None, scored: Scored | None = None
) -> GalleryEntry:
    """Return the entry of a caption, with texts of limited length; `number` distinguishes the entries of a page."""
    shown = caption._replace(
        image=shown_name(caption.image),
        text=printable(caption.text, MAX_TEXT),
        candidates=[Candidate(printable(text, MAX_TEXT), log_prob) for text, log_prob in caption.candidates],
        references=[shown_text(reference) for reference in caption.references[:MAX_REFERENCES]],
    )
    words = [] if caption.attention is None else word_maps(caption.attention)
    return GalleryEntry(number, shown, picture, words, scored)


def shown_name(name: str) -> str:
    """Return the name of an image without an absolute path, which is that of a machine, and of limited length."""
    path = PurePath(name)
    return printable(path.name if path.is_absolute() else name, MAX_NAME)


def shown_text(text: str) -> str:
    """Return a caption or reference as one line of limited length."""
    return printable(" ".join(text[: 4 * MAX_TEXT].split()), MAX_TEXT)


LARGE_SIDE = 640
"""The longest side of a photograph of a data set in pixels: twice that of its place, for screens of high density."""
MISSING = "photograph not found; give its folder with --images"
MAX_CAPTIONS = 1000
"""Captions on a page with attention, each of which takes about 30 kB."""


class ImageEntry(NamedTuple):
    """An image with its captions."""

    name: str
    picture: Picture
    captions: Sequence[str]


def write_entries(path: Path, entries: Iterable[ImageEntry], overwrite: bool = False) -> None:
    """Write a page of images and captions.

    Raises: UsageError if the file exists and `overwrite` is not set; CaptionerError if it cannot be written.
    """
    check_output(path, overwrite, "an HTML page", is_page)
    shown = []
    for entry in entries:
        uri, problem = None, MISSING
        if entry.picture is not None:
            try:
                uri, problem = embed(entry.picture, LARGE_SIDE).uri, ""
            except DataError as error:
                problem = str(error)
        shown.append((entry, uri, problem))
    write_file(path, render("data.html", title="Images and captions", entries=shown))


def write_examples(
    path: Path, corpus: Corpus, name: str, shown: Sequence[Example], images: Path | None, overwrite: bool
) -> int:
    """Write examples of a split as a page; return the number of missing images.

    Raises: as `write_entries` and `pictures_of_split`.
    """
    find = pictures_of_split(corpus, name, images)
    entries = [
        ImageEntry(example.image, find(example.row), [" ".join(reference.split()) for reference in example.references])
        for example in shown
    ]
    write_entries(path, entries, overwrite)
    return sum(entry.picture is None for entry in entries)


class AttentionPage:
    """The first `MAX_CAPTIONS` captions with their attention, for one page; `find`, if set, finds their pictures.

    Raises: UsageError if the file exists and `overwrite` is not set.
    """

    has_attention = True

    def __init__(self, path: Path, find: Callable[[Caption], Picture] | None = None, overwrite: bool = False) -> None:
        check_output(path, overwrite, "an HTML page", is_page)
        self.path, self.find, self.captions = path, find, 0
        self._entries: list[GalleryEntry] = []

    @property
    def gallery(self) -> Gallery:
        """The captions on the page."""
        return Gallery("", self._entries, self.captions)

    def write(self, caption: Caption) -> None:
        """Add a caption, with its picture as it is now."""
        if self.captions < MAX_CAPTIONS:
            picture = embed_or_none(self.find and self.find(caption), SIDE, True)
            self._entries.append(gallery_entry(self.captions, caption, picture))
        self.captions += 1

    def finish(self) -> tuple[str, str]:
        """Write the page; return that none was kept, and what was written.

        Raises: CaptionerError if it cannot be written.
        """
        script = load_script("report.js", "attention.js")
        page = render("attention_page.html", title="Attention maps", gallery=self.gallery, script=script)
        write_file(self.path, page)
        shown = len(self._entries)
        number = f"{shown:,}" if shown == self.captions else f"the first {shown:,} of {self.captions:,}"
        return "", f"{self.path}: attention maps of {number} image{'s' * (self.captions != 1)} written"


def pictures_by_name(corpus: Corpus, name: str, images: Path | None) -> Callable[[Caption], Picture]:
    """Return a function that finds the picture of a caption of a split.

    Raises: as `pictures_of_split`.
    """
    find = pictures_of_split(corpus, name, images)
    rows = {image: row for row, image in enumerate(corpus.split(name).image_ids)}
    return lambda caption: find(rows[caption.image])
