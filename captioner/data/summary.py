"""Summary of a data set: sizes, caption lengths, vocabulary, features and near-duplicates."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from captioner.data.corpus import Corpus, Split
from captioner.data.near_duplicates import near_duplicates
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


def summarize(corpus: Corpus) -> dict[str, Any]:
    """Summarize a data set: sizes, caption lengths and `<UNK>` rate of each split, vocabulary, features and
    near-duplicates; the counts of its preparation.
    """
    first = next(iter(corpus.splits.values()))
    regions = {} if first.regions is None else {"regions": list(first.regions.shape[1:])}
    summary: dict[str, Any] = {
        "encoder": corpus.encoder,
        "feature": corpus.feature_dim,
        "dtype": str(first.features.dtype),
        **regions,
        "vocabulary": len(corpus.vocab) - len(SPECIAL),
        "splits": {name: summarize_split(split, corpus.vocab) for name, split in corpus.splits.items()},
        "duplicates": near_duplicates(corpus),
    }
    match corpus.about.get("counts"):
        case {"distinct_words": int(), "min_count": int(), **others} as counts:
            if all(isinstance(number, int) for number in others.values()):
                summary["counts"] = counts
    return summary


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
