"""Summary of a data set: sizes, caption lengths, vocabulary and duplicate images."""

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

EXAMPLES = 100
COPY = 0.95
"""The cosine of standardized features above which two images are taken for copies."""
MIN_WIDTH = 256
"""Shorter features are compared for equality alone: they are similar by chance."""
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


def summarize(corpus: Corpus) -> dict[str, Any]:
    """Summarize a data set: sizes, caption lengths and `<UNK>` rate of each split, vocabulary, features, duplicates."""
    first = next(iter(corpus.splits.values()))
    regions = {} if first.regions is None else {"regions": list(first.regions.shape[1:])}
    return {
        "encoder": corpus.encoder,
        "feature": corpus.feature_dim,
        "dtype": str(first.features.dtype),
        **regions,
        "vocabulary": len(corpus.vocab) - len(SPECIAL),
        "splits": {name: summarize_split(split, corpus.vocab) for name, split in corpus.splits.items()},
        **images_by_source(corpus),
        "duplicates": duplicates(corpus),
    }


def images_by_source(corpus: Corpus) -> dict[str, Any]:
    """Count the images of each source in each split, as `sources`; nothing for a data set of one source."""
    counts = {name: Counter(split.sources) for name, split in corpus.splits.items() if split.sources is not None}
    sources = dict.fromkeys(source for count in counts.values() for source in count)
    return {"sources": {s: {name: count[s] for name, count in counts.items()} for s in sources}} if sources else {}


def summarize_split(split: Split, vocab: Vocab) -> dict[str, Any]:
    """Summarize a split: numbers of images, captions and words, caption lengths, and the `<UNK>` rate."""
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
    }


def duplicates(corpus: Corpus) -> dict[str, Any]:
    """Find copies of images across splits: their number, and example pairs of names.

    A copy has the features of an image of an earlier split, or is `COPY` similar to an image of train.
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
    """Yield each row that is `COPY` similar to one of other features, and the most similar one."""
    mean, std = standardization(others)

    def units(rows: Array) -> Array:
        return normalize_rows((rows - mean) / std).astype(np.float32)

    for first, rows in blocks(features):
        own = units(rows)
        highest, places = np.full(len(own), COPY, np.float32), np.full(len(own), -1)
        for start, block in blocks(others):
            cosines = own @ units(block).T
            higher = cosines.max(axis=1) > highest
            places[higher] = start + cosines[higher].argmax(axis=1)
            highest[higher] = cosines[higher].max(axis=1)
        yield from ((first + row, int(places[row])) for row in np.flatnonzero(places >= 0).tolist())
