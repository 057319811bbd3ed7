"""The gallery of a report: images with their captions, candidates, references and attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath, PureWindowsPath
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Corpus
from captioner.errors import printable
from captioner.inference.caption import Candidate, Caption
from captioner.inference.captioner import Captioner
from captioner.inference.restore import Restored, check_corpus
from captioner.report.chart import evenly_spaced
from captioner.report.pictures import Embedded, Picture, WordMap, embed_or_none, word_maps

SIDE = 320
"""The longest side of a photograph in pixels."""
MAX_NAME, MAX_TEXT = 80, 400
"""Maximum characters of a name, and of a caption or reference: longer ones are shortened in the middle."""
MAX_REFERENCES = 10
FIXED = 8
"""Images whose captions are shown during training, always the same ones."""
FIXED_N_BEST = 3


class GalleryEntry(NamedTuple):
    """An image of the gallery. `mark` is `best`, `worst` or empty; `cider` is None if it was not measured."""

    row: int
    name: str
    picture: Embedded | None
    caption: str
    log_prob: float
    candidates: list[Candidate]
    references: list[str]
    true: bool | None
    cider: float | None
    mark: str
    words: list[WordMap]
    grid: tuple[int, int]


@dataclass(frozen=True)
class Gallery:
    """Images of a split: those shown, best first if they are scored, and how many there are."""

    split: str
    entries: Sequence[GalleryEntry]
    total: int
    missing: int

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
            if self.attends
            else ""
        )
        return f"log p is the log-probability of the caption.{attention}"

    @property
    def is_scored(self) -> bool:
        return any(entry.cider is not None for entry in self.entries)

    @property
    def attends(self) -> bool:
        return any(entry.words for entry in self.entries)


class Scored(NamedTuple):
    """What is known of an image: its score, and its mark."""

    cider: float
    mark: str


def choose(scores: Array, count: int) -> dict[int, Scored]:
    """Choose the best and the worst images, and between them images at even distances; best first.

    Shapes: scores (N,) -> at most `count` numbers below N.
    """
    order = np.argsort(-scores, kind="stable").tolist()
    ends = min(count // 3, len(order) // 3) or min(1, len(order) // 2)
    shown = order
    if len(order) > count:
        last = len(order) - ends
        shown = (
            [*order[:ends], *evenly_spaced(order[ends:last], count - 2 * ends), *order[last:]]
            if count > 1
            else order[:1]
        )
    marks = {**dict.fromkeys(order[:ends], "best"), **dict.fromkeys(order[len(order) - ends :], "worst")}
    return {number: Scored(float(scores[number]), marks.get(number, "")) for number in shown}


def build_gallery(
    captioner: Captioner,
    corpus: Corpus,
    name: str,
    rows: Sequence[int],
    pictures: Callable[[int], Picture],
    n_best: int,
    scored: Mapping[int, Scored] | None = None,
    captions: Mapping[int, str] | None = None,
) -> Gallery:
    """Caption some images of a split, in the order of `rows`, with `n_best` candidates and the attention.

    `scored` has the scores of these rows, and `captions` those that were scored; attention is omitted where the
    caption is another one.
    """
    split, attends = corpus.split(name), captioner.loaded.model.attends
    ordered = np.array(sorted(rows), int)
    first = captioner.decode(split.features, regions=split.regions, attention=attends, rows=ordered)
    more = captioner.decode(split.features, n_best, regions=split.regions, rows=ordered)
    entries: dict[int, GalleryEntry] = {}
    for row, decoded, several in zip(ordered.tolist(), first, more, strict=True):
        caption = decoded.caption(split.image_ids[row], split.references(row, corpus.vocab))
        if captions is not None and captions[row] != caption.text:
            caption = caption._replace(text=captions[row], log_prob=float("nan"), attention=None)
        true = None if split.is_true is None else split.is_true(row, caption.text.split())
        picture = embed_or_none(pictures(row), SIDE, attends)
        caption = caption._replace(true=true, candidates=several.candidates)
        entries[row] = gallery_entry(row, caption, picture, None if scored is None else scored[row])
    shown = [entries[row] for row in rows]
    missing = sum(entry.picture is None for entry in shown)
    return Gallery(name, shown, len(split.captioned_images), missing)


def caption_fixed_images(restored: Restored, corpus: Corpus, name: str, pictures: Callable[[int], Picture]) -> Gallery:
    """Caption `FIXED` evenly spaced images of a split, of those that have references.

    Consensus re-ranking is left out: its index is expensive, and written after training.

    Raises: CheckpointError if the data set does not fit to the model.
    """
    check_corpus(restored, corpus)
    rows = evenly_spaced(corpus.split(name).captioned_images.tolist(), FIXED)
    return build_gallery(Captioner(restored), corpus, name, rows, pictures, FIXED_N_BEST)


def gallery_entry(
    number: int, caption: Caption, picture: Embedded | None, scored: Scored | None = None
) -> GalleryEntry:
    """Return the entry of a caption, with texts of limited length; `number` distinguishes the entries of a page."""
    attention = caption.attention
    return GalleryEntry(
        number,
        shown_name(caption.image),
        picture,
        printable(caption.text, MAX_TEXT),
        caption.log_prob,
        [Candidate(printable(text, MAX_TEXT), score) for text, score in caption.candidates],
        [shown_text(reference) for reference in caption.references[:MAX_REFERENCES]],
        caption.true,
        None if scored is None else scored.cider,
        "" if scored is None else scored.mark,
        [] if attention is None else word_maps(attention.words, attention.maps, attention.sentinel),
        (1, 1) if attention is None else attention.grid,
    )


def shown_name(name: str) -> str:
    """Return the name of an image without an absolute path, which is that of a machine, and of limited length."""
    absolute = next((kind(name) for kind in (PurePath, PureWindowsPath) if kind(name).is_absolute()), None)
    return printable(name if absolute is None else absolute.name, MAX_NAME)


def shown_text(text: str) -> str:
    """Return a caption or reference as one line of limited length."""
    return printable(" ".join(text[: 4 * MAX_TEXT].split()), MAX_TEXT)
