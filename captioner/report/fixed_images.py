"""Captions of a few fixed images during training: the same ones at every validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from captioner.data.corpus import Corpus, Split
from captioner.inference.captioner import Captioner
from captioner.inference.restore import Restored, check_corpus
from captioner.report.downsampling import evenly_spaced
from captioner.report.gallery import Gallery, build_gallery
from captioner.report.pictures import Picture

SHOWN = 8
N_BEST = 3


def fixed_rows(split: Split) -> list[int]:
    """Choose the images of a split: at most `SHOWN` of those that have references, evenly spaced."""
    return evenly_spaced(split.captioned_images.tolist(), SHOWN)


def caption_fixed_images(
    restored: Restored, corpus: Corpus, name: str, rows: Sequence[int], pictures: Callable[[int], Picture]
) -> Gallery:
    """Caption images of a split, without consensus re-ranking: its index is expensive, and written after training.

    Raises: CheckpointError if the data set does not fit to the model.
    """
    check_corpus(restored, corpus)
    return build_gallery(Captioner(restored), corpus, name, rows, pictures, N_BEST)
