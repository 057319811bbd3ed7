"""Fixtures of consensus re-ranking."""

from reranking import corpus, heeding, index, inversions

__all__ = ["corpus", "heeding", "index", "inversions"]
