"""Fixtures of consensus re-ranking and of model packages."""

from packaged import bird_package, birds
from reranking import corpus, index, inversions, reranked_run

__all__ = ["bird_package", "birds", "corpus", "index", "inversions", "reranked_run"]
