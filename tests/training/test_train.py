"""Training in a run folder: events, history, summary and checkpoints."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import (
    FILES,
    PER_EPOCH,
    TrainRun,
    assert_same_arrays,
    contents,
    history,
    kinds,
    scripted_losses,
    summary,
)

from captioner.config.overrides import from_record
from captioner.config.yaml_io import parse
from captioner.errors import DataError, DivergenceError, UsageError
from captioner.files import checkpoint
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.training.resume import resume
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step
from captioner.training.train import Ended, Started, Validated, train


def test_the_order_of_events(train_small, new_run: Path) -> None:
    seen = train_small("train.epochs=2")
    assert kinds(seen) == "<ssssvssssv>"
    started, ended = seen[0], seen[-1]
    assert isinstance(started, Started)
    assert isinstance(ended, Ended)
    assert (started.step, started.total_steps, started.steps_per_epoch) == (0, 2 * PER_EPOCH, PER_EPOCH)
    params = checkpoint.load(new_run / "last.h5").params
    assert started.parameters == ended.summary["parameters"] == sum(w.size for w in params.values())
    assert {"kind": "end", **ended.summary} == summary(new_run)
    assert sorted(path.name for path in new_run.iterdir()) == FILES


def test_the_effective_config_is_saved(train_small, small_config, new_run: Path) -> None:
    train_small("train.epochs=1", "seed=5")
    assert parse((new_run / "config.yaml").read_text(), "") == small_config("train.epochs=1", "seed=5")
    assert from_record(checkpoint.load(new_run / "last.h5").meta.config) == small_config("train.epochs=1", "seed=5")


def test_the_history_has_one_record_per_step_and_validation(train_small, new_run: Path) -> None:
    seen = train_small("train.epochs=2")
    steps = [event for event in seen if isinstance(event, Step)]
    assert history(new_run, "step") == [
        {"kind": "step", **{name: value for name, value in s._asdict().items() if name != "metrics"}, **s.metrics}
        for s in steps
    ]
    validations = [event for event in seen if isinstance(event, Validated)]
    assert [(v.step, v.epoch) for v in validations] == [(4, 1), (8, 2)]
    assert history(new_run, "validation") == [
        {"kind": "validation", **v._asdict(), "perplexity": math.exp(v.loss)} for v in validations
    ]


def test_the_summary(train_small, new_run: Path) -> None:
    train_small("train.epochs=2")
    written = summary(new_run)
    best = min(history(new_run, "validation"), key=lambda line: line["loss"])
    assert written["best"] == {name: best[name] for name in ("step", "epoch", "loss", "perplexity")}
    assert (written["ended"], written["step"], written["steps_this_time"]) == ("done", 8, 8)
    assert written["words_per_second"] > 0
    profile = written["profile"]
    assert list(profile) == ["reading", "forward", "backward", "update", "validation", "saving", "other"]
    assert all(profile[part] > 0 for part in ("forward", "backward", "update", "validation", "saving"))
    assert sum(profile.values()) == pytest.approx(written["seconds"], abs=0.001 * len(profile))
    assert all(seconds == round(seconds, 3) for seconds in profile.values())


def test_checkpoints_every_epoch_and_every_few_steps(
    train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, best = [], []
    save, keep_best = RunFolder.save, RunFolder.keep_best
    monkeypatch.setattr(RunFolder, "save", lambda run, file: (saved.append(file.meta.step), save(run, file)))
    monkeypatch.setattr(RunFolder, "keep_best", lambda run: (best.append(saved[-1]), keep_best(run)))
    scripted_losses(monkeypatch, 3.0, 3.5, 2.5)
    train_small("train.max_steps=10", "train.save_every=3")
    assert (saved, best) == ([3, 4, 6, 8, 9, 10], [4])
    assert checkpoint.load(new_run / "best.h5").meta.step == 4


@pytest.mark.slow
def test_files_are_byte_identical_for_the_same_seed_and_config(train_run: TrainRun) -> None:
    options = ("train.max_steps=6", *(f"model.dropout_{name}=0.3" for name in ("features", "embedding", "hidden")))
    run, again, other = train_run(*options), train_run(*options), train_run(*options, "seed=1")
    for name in ("best.h5", "last.h5", "config.yaml"):
        assert (run / name).read_bytes() == (again / name).read_bytes()
    assert history(run) == history(again)
    assert history(run, "step")[0]["loss"] != history(other, "step")[0]["loss"]


def test_stop_saves_a_checkpoint_and_ends(train_small, new_run: Path) -> None:
    calls: list[int] = []
    seen = train_small("train.epochs=3", stop=lambda: calls.append(1) or len(calls) == 6)
    assert kinds(seen) == "<ssssvss>"
    assert seen[-1].summary["ended"] == "stopped"
    assert checkpoint.load(new_run / "last.h5").meta.step == 6


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.parametrize("rule", ["sgd", "sgd_momentum"])  # `test_resume.py` has Adam
def test_update_rules_with_and_without_slots_can_be_resumed(rule: str, train_run: TrainRun) -> None:
    options = (f"train.update_rule={rule}", "train.learning_rate=0.01", "model.decoder=rnn")
    whole, half = train_run(*options, "train.max_steps=4"), train_run(*options, "train.max_steps=2")
    list(resume(half, {"train.max_steps": 4}))
    assert_same_arrays(half, whole)


EARLY_ERRORS = {
    "unknown_split": (["validate.split=dev"], DataError, r"\(train, val, test, heldout\), got dev; try -o validate"),
    "too_large": (["model.hidden_dim=100000"], UsageError, "expected at most 1,000,000,000 parameters"),
    "no_data": (["data.source=cs231n", "data.root=/nowhere"], DataError, "/nowhere"),
}


@pytest.mark.parametrize("name", EARLY_ERRORS)
def test_an_error_before_training_leaves_the_existing_run_unchanged(name: str, own_run: Path, small_config) -> None:
    overrides, kind, message = EARLY_ERRORS[name]
    before = contents(own_run)
    with pytest.raises(kind, match=message):
        list(train(small_config(*overrides), own_run, overwrite=True))
    assert contents(own_run) == before


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
    assert (summary(new_run)["ended"], summary(new_run)["step"]) == ("diverged", 5)


def test_divergence_before_the_first_checkpoint_or_in_a_validation(
    train_small, new_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_losses(monkeypatch, 2.0, math.nan)
    with pytest.raises(DivergenceError, match=r"^step 8: training diverged: .* got nan; try a smaller"):
        train_small("train.epochs=3")
    assert checkpoint.load(new_run / "last.h5").meta.step == 4
    diverge_at(monkeypatch, 2)
    with pytest.raises(DivergenceError, match=r"^step 2: .*; no checkpoint yet$"):
        train_small("train.epochs=3", overwrite=True)
    assert not (new_run / "last.h5").exists()


@pytest.mark.filterwarnings("ignore:.*encountered in")
def test_the_checkpoint_of_a_diverging_run_is_finite(train_small, new_run: Path) -> None:
    with pytest.raises(DivergenceError) as caught:
        train_small("train.learning_rate=1e20", "train.save_every=1", "train.clip_norm=null")
    if (new_run / "last.h5").exists():
        assert all(np.isfinite(w).all() for w in checkpoint.load(new_run / "last.h5").params.values())
        assert "last.h5" in str(caught.value)
    else:
        assert "no checkpoint yet" in str(caught.value)


LARGE = ("model.hidden_dim=192", "model.wordvec_dim=96", "train.batch_size=64", "train.max_steps=3")
"""Sizes large enough that the thread pool splits the work."""


@pytest.mark.slow
def test_threads_change_results_only_by_rounding(train_run: TrainRun) -> None:
    runs = [train_run(*LARGE, f"threads={threads}") for threads in (1, 2, 2)]
    assert [checkpoint.load(run / "last.h5").meta.environment["threads"] for run in runs] == ["1", "2", "2"]
    serial, two, again = (checkpoint.load(run / "last.h5").params for run in runs)
    for name, w in serial.items():
        np.testing.assert_array_equal(again[name], two[name], err_msg=name)
        np.testing.assert_allclose(two[name], w, rtol=1e-3, atol=1e-4, err_msg=name)
