"""Captions borrowed from train: those that the neighbours of an image agree on. Whatever learns should do better."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import Corpus, Features
from captioner.evaluation.scoring import references_of
from captioner.metrics import CiderD, tokenize

NEIGHBOURS = 30
ROWS = 256
TOGETHER = 16
"""Images whose neighbours' captions are compared at a time."""


def nearest_neighbour_captions(corpus: Corpus, name: str, rows: Array) -> list[str]:
    """The consensus caption of each image: among those of its neighbours in train, the one most like all of them.

    Likeness is CIDEr-D, with n-grams weighed by train; neighbours have the greatest cosine of features.

    Raises: DataError when there is no such split.
    Source: Devlin et al., "Exploring nearest neighbor approaches for image captioning", 2015, section 3.
    """
    train = corpus.split("train")
    texts = references_of(train, corpus.vocab)
    there = np.array([row for row, several in enumerate(texts) if several])
    words = [[tokenize(text) for text in several] for several in texts]
    weights = CiderD([words[row] for row in there])
    found = nearest(corpus.split(name).features, rows, train.features, there)
    captions = []
    for first in range(0, len(rows), TOGETHER):
        several = found[first : first + TOGETHER].tolist()
        said = [[caption for row in near for caption in words[row]] for near in several]
        images = np.repeat(np.arange(len(said)), list(map(len, said)))
        scores = CiderD(said, weights).score(images, [caption for captions in said for caption in captions])
        for image, near in enumerate(several):
            best = int(scores[images == image].argmax())
            captions.append([text for row in near for text in texts[row]][best])
    return captions


def nearest(features: Features, rows: Array, others: Features, there: Array, most: int = NEIGHBOURS) -> Array:
    """The rows of other features, out of `there`, whose cosine with each row is greatest, nearest first.

    Shapes: features (M, F), rows (N,), others (L, F), there (K,) -> (N, min(most, K)).
    """
    trained = _unit(others, there)
    found = [
        np.argsort(-(_unit(features, rows[first : first + ROWS]) @ trained.T), axis=1, kind="stable")[:, :most]
        for first in range(0, len(rows), ROWS)
    ]
    return there[np.concatenate(found)]


def _unit(features: Features, rows: Array) -> Array:
    """Rows of length 1; a row of zeros stays one. They are scaled by a power of 2 first, as squares may overflow."""
    block = np.concatenate([features[rows[first : first + ROWS]] for first in range(0, len(rows), ROWS)])
    block = block.astype(np.float32)
    block = np.ldexp(block, -np.frexp(np.abs(block).max(axis=1, keepdims=True))[1])
    norm = np.sqrt((block**2).sum(axis=1, keepdims=True))
    unit: Array = block / np.where(norm > 0, norm, 1)
    return unit
