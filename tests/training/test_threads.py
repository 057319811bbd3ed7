"""Real runs on one thread and on two: the same bits for the same number, rounding apart for another."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Params
from captioner.storage import checkpoint

LARGE = ("model.hidden_dim=192", "model.wordvec_dim=96", "train.batch_size=64", "train.max_steps=6")
"""Products large enough that a team shares them out."""


def test_threads_change_nothing_but_rounding(
    shell: Callable[..., Any], small_options: Sequence[str], tmp_path: Path
) -> None:
    trained: list[Params] = []
    for number, threads in enumerate((1, 2, 2)):
        run = tmp_path / str(number)
        options = [*small_options, *(f"--set={option}" for option in (*LARGE, f"threads={threads}"))]
        done = shell("train", *options, "--run", run)
        assert done.returncode == 0, done.stderr
        assert json.loads((run / "summary.json").read_text())["threads"] == threads
        trained.append(checkpoint.load(run / "last.h5").params)
    one, two, again = trained
    for name, w in one.items():
        np.testing.assert_array_equal(again[name], two[name], err_msg=name)
        np.testing.assert_allclose(two[name], w, rtol=1e-3, atol=1e-4, err_msg=name)
