"""Training is bit-identical for one thread count, and equal up to rounding for another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioner.arrays import Params
from captioner.config.yaml_io import parse
from captioner.storage import checkpoint
from captioner.training.events import Ended
from captioner.training.train import train

LARGE = ("model.hidden_dim=192", "model.wordvec_dim=96", "train.batch_size=64", "train.max_steps=6")
"""Sizes large enough that the thread pool splits the work."""


def test_threads_change_results_only_by_rounding(small: Sequence[str], tmp_path: Path) -> None:
    trained: list[Params] = []
    for number, threads in enumerate((1, 2, 2)):
        *_, ended = train(parse("", "", [*small, *LARGE, f"threads={threads}"]), tmp_path / str(number))
        assert isinstance(ended, Ended)
        assert ended.summary["threads"] == threads
        trained.append(checkpoint.load(tmp_path / str(number) / "last.h5").params)
    one, two, again = trained
    for name, w in one.items():
        np.testing.assert_array_equal(again[name], two[name], err_msg=name)
        np.testing.assert_allclose(two[name], w, rtol=1e-3, atol=1e-4, err_msg=name)
