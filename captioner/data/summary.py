"""Summary of a data set: sizes, caption lengths, vocabulary and duplicate images."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from captioner.arrays import blocks
from captioner.data.corpus import Corpus, Split
from captioner.data.vocabulary import SPECIAL, Vocab

EXAMPLES = 10
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
        "duplicates": duplicates(corpus),
    }


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
    """Find images with the same features in two splits: their number, and example pairs of names."""
    seen: dict[bytes, tuple[str, str]] = {}
    examples: list[list[str]] = []
    count = 0
    for name, split in corpus.splits.items():
        for first, rows in blocks(split.features):
            images = split.image_ids[first : first + len(rows)]
            for image, numbers in zip(images, np.ascontiguousarray(rows), strict=True):
                digest = hashlib.blake2b(numbers, digest_size=16).digest()
                other, earlier = seen.setdefault(digest, (name, image))
                if other != name:
                    count += 1
                    examples += [[f"{other}: {earlier}", f"{name}: {image}"]][: EXAMPLES - len(examples)]
    return {"images": count, "examples": examples}
