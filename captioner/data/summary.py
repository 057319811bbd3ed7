"""Summary of a data set: sizes, caption lengths, vocabulary and near-duplicates across splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from captioner.arrays import Array, blocks, normalize_rows
from captioner.data.corpus import Corpus, Features, Split
from captioner.data.features import standardization
from captioner.data.vocabulary import SPECIAL, Vocab

ROWS = {
    "images": ("images", ",d"),
    "captions": ("captions", ",d"),
    "words": ("words", ",d"),
    "shortest": ("minimum length", "d"),
    "mean": ("mean length", ".1f"),
    "longest": ("maximum length", "d"),
    "unk": ("<UNK> words", ".2%"),
}
"""The titles and formats of the numbers of a split."""
EXAMPLES = 20
MIN_COSINE = 0.95
MIN_WIDTH = 256
"""Features with fewer numbers are compared for equality only: their cosines are high by chance."""


def summarize(corpus: Corpus) -> dict[str, Any]:
    """Summarize a data set: sizes, caption lengths and `<UNK>` rate of each split, vocabulary, features and
    near-duplicates.
    """
    first = next(iter(corpus.splits.values()))
    regions = {} if first.regions is None else {"regions": list(first.regions.shape[1:])}
    return {
        "encoder": corpus.encoder,
        "feature": corpus.feature_dim,
        "dtype": str(first.features.dtype),
        **regions,
        "vocabulary": len(corpus.vocab) - len(SPECIAL),
        "splits": {name: summarize_split(split, corpus.vocab) for name, split in corpus.splits.items()},
        "duplicates": near_duplicates(corpus),
    }


def summarize_split(split: Split, vocab: Vocab) -> dict[str, Any]:
    """Summarize a split: numbers of images, captions and words, caption lengths, `<UNK>` rate and sources."""
    words = ~np.isin(split.captions, (vocab.null, vocab.start, vocab.end))
    lengths = words.sum(axis=1)
    total = int(lengths.sum())
    return {
        "images": int(split.features.shape[0]),
        "captions": len(split.captions),
        "words": total,
        "shortest": int(lengths.min()),
        "mean": round(float(lengths.mean()), 2),
        "longest": int(lengths.max()),
        "unk": round(float((split.captions == vocab.unk).sum() / max(total, 1)), 5),
        **({} if split.sources is None else {"sources": dict(Counter(split.sources))}),
    }


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
