"""Fixtures of small trainings, of attention over regions and of consensus re-ranking."""

from region_runs import region_photos, region_run, train_on_regions
from reranking import corpus, index, inversions, reranked_run
from training_events import new_run, small_config, train_small

__all__ = ["corpus", "index", "inversions", "region_photos", "region_run", "reranked_run", "train_on_regions"]
__all__ += ["new_run", "small_config", "train_small"]
