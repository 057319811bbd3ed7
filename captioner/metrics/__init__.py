"""Caption metrics (BLEU, ROUGE-L, CIDEr-D) in NumPy, equal to those of pycocoevalcap 1.2."""

from captioner.metrics.cider import CiderD
from captioner.metrics.ptb import ptb_tokenize
from captioner.metrics.scores import (
    NAMES,
    confidence_interval,
    diversity,
    fraction,
    novelty,
    score_rows,
    scores_by_name,
    scores_from_sums,
)

__all__ = [
    "NAMES",
    "CiderD",
    "confidence_interval",
    "diversity",
    "fraction",
    "novelty",
    "ptb_tokenize",
    "score_rows",
    "scores_by_name",
    "scores_from_sums",
]
