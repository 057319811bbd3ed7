"""The measured shapes, and random batches with realistic caption lengths and word frequencies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, SharedRows
from captioner.layers.dropout import NO_DROPOUT, Dropout
from captioner.model.build import initial_params
from captioner.model.parameters import Sizes

NULL, START, END, WORDS = 0, 1, 2, 4
"""The ids of COCO's special tokens, and of its first word."""


@dataclass(frozen=True)
class Shape:
    """Model and batch sizes; caption lengths as in COCO.

    A transformer has width `hidden`, and ignores `wordvec`; `regions` of each image are as wide as its feature.
    """

    decoder: str
    captions: int
    vocab: int
    feature: int = 512
    wordvec: int = 256
    hidden: int = 512
    dropout: Dropout = NO_DROPOUT
    columns: int = 17
    mean: float = 10.5
    deviation: float = 2.0
    shortest: int = 6
    suffix: str = ""
    layers: int = 1
    heads: int = 1
    feed_forward: int = 1
    regions: int = 0

    @property
    def key(self) -> str:
        return f"{self.decoder}-{self.captions}-{self.vocab}{self.suffix}"

    @property
    def sizes(self) -> Sizes:
        sizes = Sizes(self.vocab, self.feature, self.wordvec, self.hidden, self.decoder)
        sizes = replace(sizes, layers=self.layers, heads=self.heads, feed_forward=self.feed_forward)
        return replace(sizes, attention="adaptive", region=self.feature) if self.regions else sizes


class Batch(NamedTuple):
    """Features (N, F) float32 and captions (N, T) ids."""

    features: Array
    captions: Array

    @property
    def words(self) -> int:
        """The number of target words, END included."""
        return int((self.captions[:, 1:] != NULL).sum())


CELLS = ("lstm", "rnn")
COCO = tuple(
    Shape(cell, captions, vocab)
    for cell in CELLS
    for captions, vocab in ((25, 1004), (50, 1004), (64, 1004), (256, 1004), (64, 10_000))
)
FLICKR8K = tuple(
    Shape(cell, 128, 2538, 1280, 256, 512, Dropout(0.2, 0.5, 0.5), 22, 10.77, 3.6, 2, "-flickr8k") for cell in CELLS
)
"""As in configs/flickr8k-lstm.yaml, with dropout; the loops have no dropout."""

QUICK = tuple(Shape(cell, 5, 40, 12, 8, 16) for cell in CELLS)


TRANSFORMER = Shape("transformer", 64, 1004, hidden=256, layers=2, heads=4, feed_forward=1024)
"""It has 2.8 M parameters with 1,004 words; lstm-64-1004 has 2.6 M."""
TRANSFORMERS = (
    TRANSFORMER,
    replace(TRANSFORMER, captions=256),
    replace(TRANSFORMER, vocab=10_000),
    replace(TRANSFORMER, regions=49, suffix="-regions"),
    replace(TRANSFORMER, dropout=Dropout(features=0.1, words=0.1, hidden=0.1, layers=0.1), suffix="-dropout"),
)
QUICK_TRANSFORMER = replace(TRANSFORMER, captions=5, vocab=40, feature=12, hidden=16, feed_forward=24)


def parameters(shape: Shape) -> Params:
    """Return initial parameters, the same for every contender.

    Vectors of a transformer get noise, because parameters that are all 0 or 1 could be mixed up without an effect.
    """
    rng = np.random.default_rng(1)
    params = initial_params(shape.sizes, rng.standard_normal)
    if shape.decoder not in CELLS:
        for w in params.values():
            if w.ndim == 1:
                w += 0.1 * rng.standard_normal(w.shape, dtype=w.dtype)
    return params


def regions(shape: Shape) -> SharedRows | None:
    """Return random regions of each image, if the shape has any."""
    size = shape.captions, shape.regions, shape.feature
    return (
        SharedRows.separate(np.random.default_rng(3).standard_normal(size, dtype=np.float32)) if shape.regions else None
    )


def batch(shape: Shape) -> Batch:
    """Return a random batch with normally distributed lengths and Zipf-distributed words."""
    rng = np.random.default_rng(0)
    counts = rng.normal(shape.mean, shape.deviation, shape.captions).round().astype(int)
    frequency = 1 / np.arange(1, shape.vocab - WORDS + 1)
    captions = np.full((shape.captions, shape.columns), NULL)
    for caption, count in zip(captions, counts.clip(shape.shortest, shape.columns - 2), strict=True):
        words = WORDS + rng.choice(len(frequency), count, p=frequency / frequency.sum())
        caption[: count + 2] = START, *words, END
    return Batch(rng.standard_normal((shape.captions, shape.feature), dtype=np.float32), captions)
