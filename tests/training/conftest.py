"""Fixtures of small trainings and of consensus re-ranking."""

from reranking import corpus, index, inversions, reranked_run
from small_runs import new_run, small_config, train_run, train_small

__all__ = ["corpus", "index", "inversions", "new_run", "reranked_run", "small_config", "train_run"]
__all__ += ["train_small"]
