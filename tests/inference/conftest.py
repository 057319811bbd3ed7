"""Fixtures of consensus re-ranking."""

from reranking import corpus, index, inversions, reranked_run

__all__ = ["corpus", "index", "inversions", "reranked_run"]
