"""Fixtures of small trainings."""

from small_runs import new_run, small_config, train_run, train_small

__all__ = ["new_run", "small_config", "train_run", "train_small"]
