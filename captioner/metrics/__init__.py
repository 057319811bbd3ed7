"""Caption metrics (BLEU, ROUGE-L, CIDEr-D) in NumPy, equal to those of pycocoevalcap 1.2."""

from captioner.metrics.cider import CiderD
from captioner.metrics.diversity import novel, share, wording
from captioner.metrics.ptb import tokenize
from captioner.metrics.scores import NAMES, corpus_scores, figures, interval, named, score_rows

__all__ = [
    "NAMES",
    "CiderD",
    "corpus_scores",
    "figures",
    "interval",
    "named",
    "novel",
    "score_rows",
    "share",
    "tokenize",
    "wording",
]
