"""Fixtures of small trainings, distillation, attention over regions and consensus re-ranking."""

from distilling import student, teacher
from packaged import bird_package
from region_runs import region_photos, region_run, train_on_regions
from reranking import corpus, index, inversions, reranked_run
from training_events import new_run, small_config, train_small

__all__ = ["bird_package", "corpus", "index", "inversions", "new_run", "region_photos", "region_run", "reranked_run"]
__all__ += ["small_config", "student", "teacher", "train_on_regions", "train_small"]
