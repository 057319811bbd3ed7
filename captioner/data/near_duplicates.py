"""Near-duplicates: images of different splits with the same or very similar features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from captioner.arrays import Array, blocks, normalize_rows
from captioner.data.corpus import Corpus, Features
from captioner.data.features import standardization

EXAMPLES = 20
MIN_COSINE = 0.95
MIN_WIDTH = 256
"""Features with fewer numbers are compared for equality only: their cosines are high by chance."""


def near_duplicates(corpus: Corpus) -> dict[str, Any]:
    """Find near-duplicates across splits, which inflate scores: their number, and example pairs of names.

    An image has the same features as one of an earlier split, or a cosine of standardized features above `MIN_COSINE`
    with one of train.
    """
    seen: dict[bytes, tuple[str, str]] = {}
    pairs: dict[tuple[str, int], list[str]] = {}
    train = corpus.splits.get("train")
    for name, split in corpus.splits.items():
        for first, rows in blocks(split.features):
            for row, numbers in enumerate(np.ascontiguousarray(rows), first):
                digest = hashlib.blake2b(numbers, digest_size=16).digest()
                other, earlier = seen.setdefault(digest, (name, split.image_ids[row]))
                if other != name:
                    pairs[name, row] = [f"{other}: {earlier}", f"{name}: {split.image_ids[row]}"]
        if train is not None and split is not train and corpus.feature_dim >= MIN_WIDTH:
            for row, similar in _similar_rows(split.features, train.features):
                pairs.setdefault((name, row), [f"train: {train.image_ids[similar]}", f"{name}: {split.image_ids[row]}"])
    return {"images": len(pairs), "examples": list(pairs.values())[:EXAMPLES]}


def _similar_rows(features: Features, others: Features) -> Iterator[tuple[int, int]]:
    """Yield each row with a cosine above `MIN_COSINE` with one of other features, and the most similar one."""
    mean, std = standardization(others)

    def units(rows: Array) -> Array:
        return normalize_rows(((rows - mean) / std).astype(np.float32))

    own = np.concatenate([units(rows) for _, rows in blocks(features)])
    highest, places = np.full(len(own), MIN_COSINE, np.float32), np.full(len(own), -1)
    for start, rows in blocks(others):
        cosines = own @ units(rows).T
        nearest = cosines.argmax(axis=1)
        values = cosines[np.arange(len(own)), nearest]
        places[values > highest] = start + nearest[values > highest]
        np.maximum(highest, values, out=highest)
    yield from ((row, int(places[row])) for row in np.flatnonzero(places >= 0).tolist())
