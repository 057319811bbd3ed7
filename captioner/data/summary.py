"""Summary of a data set: sizes, caption lengths, vocabulary and duplicate images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from captioner.arrays import Array, blocks, normalize_rows
from captioner.data.corpus import Corpus, Split
from captioner.data.features import standardization
from captioner.data.vocabulary import SPECIAL, Vocab

EXAMPLES = 100
COPY = 0.95
"""The cosine of standardized features above which two images are taken for copies."""
MIN_WIDTH = 256
"""Shorter features are compared for equality alone: they are similar by chance."""
MARGIN = 0.05
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
    for name, split in corpus.splits.items():
        for first, rows in blocks(split.features):
            for row, numbers in enumerate(np.ascontiguousarray(rows), first):
                digest = hashlib.blake2b(numbers, digest_size=16).digest()
                other, earlier = seen.setdefault(digest, (name, split.image_ids[row]))
                if other != name:
                    pairs[name, row] = [f"{other}: {earlier}", f"{name}: {split.image_ids[row]}"]
    train = corpus.splits.get("train")
    if train is not None and corpus.feature_dim >= MIN_WIDTH:
        others = {name: split for name, split in corpus.splits.items() if split is not train}
        for name, row, similar in _near_copies(train, others):
            pair = [f"train: {train.image_ids[similar]}", f"{name}: {others[name].image_ids[row]}"]
            pairs.setdefault((name, row), pair)
    return {"images": len(pairs), "examples": list(pairs.values())[:EXAMPLES]}


def _near_copies(train: Split, others: Mapping[str, Split]) -> Iterator[tuple[str, int, int]]:
    """Yield each image of other splits that is `COPY` similar to an image of train, the split first, and that image.

    Candidates are found in a random projection, whose cosines differ by about (1 - cosine^2) / sqrt(MIN_WIDTH).
    """
    mean, std = standardization(train.features)
    projection = np.random.default_rng(0).standard_normal((len(mean), MIN_WIDTH)).astype(np.float32)

    def units(rows: Array) -> Array:
        return normalize_rows((rows.astype(np.float64) - mean) / std)

    projected = np.concatenate([normalize_rows(units(rows) @ projection) for _, rows in blocks(train.features)])
    for name, split in others.items():
        for first, rows in blocks(split.features):
            own = units(rows)
            low = normalize_rows(own @ projection)
            found: dict[int, tuple[float, int]] = {}
            for start, block in blocks(projected):
                similarity = low @ block.T
                for row in np.flatnonzero(similarity.max(axis=1) > COPY - MARGIN).tolist():
                    place = start + int(similarity[row].argmax())
                    cosine = float(own[row] @ units(train.features[place : place + 1])[0])
                    if cosine > COPY:
                        found[row] = max(found.get(row, (0.0, 0)), (cosine, place))
            yield from ((name, first + row, similar) for row, (_, similar) in sorted(found.items()))
