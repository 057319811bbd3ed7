"""An error before or during training leaves the last valid files of the run."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_events import scripted_losses

from captioner.errors import CheckpointError, DataError, DivergenceError, UsageError
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.storage import checkpoint
from captioner.training.resume import resume
from captioner.training.train import train

EARLY_ERRORS = {
    "unknown_split": (["validate.split=dev"], DataError, r"\(train, val, test, heldout\), got dev; try -o validate"),
    "too_large": (["model.hidden_dim=100000"], UsageError, "expected at most 1,000,000,000 parameters"),
    "no_data": (["data.source=cs231n", "data.root=/nowhere"], DataError, "/nowhere"),
}


@pytest.mark.parametrize("name", EARLY_ERRORS)
def test_an_error_before_training_leaves_the_existing_run_unchanged(name: str, own_run: Path, small_config) -> None:
    overrides, kind, message = EARLY_ERRORS[name]
    before = {path.name: path.read_bytes() for path in own_run.iterdir()}
    with pytest.raises(kind, match=message):
        list(train(small_config(*overrides), own_run, overwrite=True))
    assert {path.name: path.read_bytes() for path in own_run.iterdir()} == before


def test_a_run_is_only_overwritten_on_request(train_small, new_run: Path) -> None:
    train_small("train.max_steps=1")
    before = {path.name: path.read_bytes() for path in new_run.iterdir()}
    with pytest.raises(UsageError, match="already contains a run"):
        train_small("train.max_steps=2")
    assert {path.name: path.read_bytes() for path in new_run.iterdir()} == before
    train_small("train.max_steps=2", overwrite=True)
    assert checkpoint.load(new_run / "last.h5").meta.step == 2


def diverge_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    real, calls = CaptioningRNN.forward, []

    def forward(*args: Any, **options: Any) -> tuple[Any, Any]:
        calls.append(1)
        losses, cache = real(*args, **options)
        return (losses._replace(loss=math.nan) if len(calls) == step else losses), cache

    monkeypatch.setattr(CaptioningRNN, "forward", forward)


def test_a_diverging_run_keeps_the_checkpoint_before_the_divergence(
    train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverge_at(monkeypatch, 6)
    with pytest.raises(
        DivergenceError, match=rf"^step 6: training diverged: .*{new_run}/last.h5 contains step 4, before"
    ):
        train_small("train.epochs=3")
    assert checkpoint.load(new_run / "last.h5").meta.step == 4
    summary = json.loads((new_run / "summary.json").read_text())
    assert (summary["ended"], summary["steps"]) == ("diverged", 5)


def test_divergence_before_the_first_checkpoint(train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverge_at(monkeypatch, 2)
    with pytest.raises(DivergenceError, match=r"^step 2: .*; no checkpoint yet$"):
        train_small("train.epochs=3")
    assert not (new_run / "last.h5").exists()


def test_a_non_finite_validation_loss_is_divergence(
    train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_losses(monkeypatch, 2.0, math.nan)
    with pytest.raises(DivergenceError, match=r"^step 8: training diverged: .* got nan; try a smaller"):
        train_small("train.epochs=3")
    assert checkpoint.load(new_run / "last.h5").meta.step == 4


@pytest.mark.filterwarnings("ignore:.*encountered in")
@pytest.mark.parametrize("rate", ["1e20", "1e39"])
def test_the_checkpoint_of_a_diverging_run_is_finite(rate: str, train_small, new_run: Path) -> None:
    with pytest.raises(DivergenceError) as caught:
        train_small(f"train.learning_rate={rate}", "train.save_every=1", "train.clip_norm=null")
    if (new_run / "last.h5").exists():
        assert all(np.isfinite(w).all() for w in checkpoint.load(new_run / "last.h5").params.values())
        assert "last.h5" in str(caught.value)
    else:
        assert "no checkpoint yet" in str(caught.value)


def test_a_full_disk_keeps_the_last_checkpoint(own_run: Path, files_of_at_most: Callable[[int], Any]) -> None:
    before = {name: (own_run / name).read_bytes() for name in ("last.h5", "best.h5")}
    with files_of_at_most(50_000), pytest.raises(CheckpointError, match=r"h5: cannot write .*: File too large"):
        list(resume(own_run, ["train.epochs=3"]))
    assert {name: (own_run / name).read_bytes() for name in before} == before
    assert list(resume(own_run, ["train.epochs=3"]))[-1].summary["steps"] == 12
