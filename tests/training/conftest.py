"""Fixtures of consensus re-ranking and of attention over regions."""

from region_runs import region_photos, region_run, train_on_regions
from reranking import corpus, index, inversions, reranked_run

__all__ = ["corpus", "index", "inversions", "region_photos", "region_run", "reranked_run", "train_on_regions"]
