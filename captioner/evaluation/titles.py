"""The titles and formats of scores in tables."""

from __future__ import annotations

from collections.abc import Mapping

SCORES: Mapping[str, str] = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "cider_d": "CIDEr-D",
}
"""Metrics that are shown times 100, with confidence intervals if there are any."""
STATISTICS: Mapping[str, tuple[str, str]] = {
    "perplexity": ("perplexity", ".2f"),
    "true": ("captions true", ".1%"),
    "pointing": ("pointing accuracy", ".1%"),
    "mean_length": ("words per caption", ".1f"),
    "vocabulary": ("distinct words", ",d"),
    "distinct": ("distinct captions", ",d"),
    "novel": ("captions not in train", ".1%"),
    "repeats": ("with repeated bigram", ".1%"),
    "unk": ("<UNK> words", ".1%"),
}
"""Statistics of captions: their titles and formats."""
