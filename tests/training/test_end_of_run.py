"""A run that ended and was resumed equals an uninterrupted run, also with --resume-or-start, which is repeated."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_runs import TrainRun, assert_same_arrays
from small_runs import history as records

from captioner.captioning.load import open_run
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.files import checkpoint
from captioner.metrics import NAMES
from captioner.training.resume import resume
from captioner.training.solver import steps
from captioner.training.train import Ended, Event, Validated, train
from captioner.training.validation import Validation

PER_EPOCH = 4
BY_STEP = {4: 3.0, 6: 2.9, 8: 2.0, 12: 2.5, 16: 2.4, 20: 1.9, 24: 2.2, 28: 2.3}
"""Validation losses after each epoch."""


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """The validation loss after each step, which tests may change."""
    by_step, at = dict(BY_STEP), [0]
    monkeypatch.setattr(Validation, "loss", lambda self, model: by_step[at[0]])

    def with_step(*args: Any) -> Iterator[Any]:
        for step in steps(*args):
            at[0] = step.step
            yield step

    monkeypatch.setattr("captioner.training.train.steps", with_step)
    return by_step


@pytest.fixture
def go(small: Sequence[str], tmp_path: Path) -> Callable[..., list[Event]]:
    def run(name: str, *overrides: str) -> list[Event]:
        if (tmp_path / name).exists():
            return list(resume(tmp_path / name, read_overrides(overrides)))
        return list(train(parse("", "", read_overrides([*small, "train.log_every=3", *overrides])), tmp_path / name))

    return run


def history(run: Path) -> list[str]:
    """The lines of a history, but for that of the end, which has times."""
    lines = (run / "history.jsonl").read_text().splitlines()
    return [line for line in lines if not line.startswith('{"kind": "end"')]


def state(path: Path) -> tuple[Any, ...]:
    meta = checkpoint.load(path).meta
    return meta.step, meta.best, meta.since_best


def assert_same(run: Path, other: Path) -> None:
    assert history(run) == history(other)
    assert state(run / "last.h5") == state(other / "last.h5")
    assert state(run / "best.h5") == state(other / "best.h5")
    assert sorted(path.name for path in run.iterdir()) == sorted(path.name for path in other.iterdir())


@pytest.mark.parametrize("patience", [3, None])
def test_resuming_after_an_end_within_an_epoch(
    patience: int | None, losses: dict[int, float], go: Callable[..., Any], tmp_path: Path
) -> None:
    """The validation at the end of the run neither uses up nor resets the patience, however good its loss is."""
    options = ["train.epochs=7"] if patience is None else ["train.epochs=7", f"train.patience={patience}"]
    go("uninterrupted", *options)
    ends = [(10, 9.0), (10, 1.0), (11, 2.0), (2, 1.0)] if patience else [(2, 1.0)]
    for number, (at, loss) in enumerate(ends):
        losses |= BY_STEP | {2: 9.0, 10: 9.0, 11: 9.0, at: loss, 18: 0.5}
        run = f"run {number}"
        go(run, *options, f"train.max_steps={at}")
        assert (tmp_path / run / "best.h5").exists() == (at > PER_EPOCH)
        if patience is None:
            go(run, "train.max_steps=18")
        go(run, "train.max_steps=null")
        assert_same(tmp_path / run, tmp_path / "uninterrupted")
        assert state(tmp_path / run / "best.h5")[0] == 20


@pytest.mark.parametrize("loss", [1.0, 2.1], ids=["the best", "a worse one"])
def test_the_validation_at_the_end_is_recorded_alone(
    loss: float, losses: dict[int, float], go: Callable[..., Any], tmp_path: Path
) -> None:
    """The best checkpoint is that of a scheduled validation; the records of the end are marked."""
    losses[10], run = loss, tmp_path / "run"
    events = go("run", "train.epochs=7", "train.max_steps=10")
    best = {"step": 8, "epoch": 2, "loss": 2.0}
    assert [event.best for event in events if isinstance(event, Validated)] == [True, True, False]
    assert state(run / "best.h5") == (8, best, 0)
    assert state(run / "last.h5") == (10, best, 0)
    assert events[-1].summary["best"].items() >= best.items()
    lines = [json.loads(line) for line in history(run)]
    assert [line["loss"] for line in lines if line["kind"] == "validation"] == [3.0, 2.0, loss]
    marked = [(line["kind"], line["step"]) for line in lines if "at_end" in line and line["kind"] != "warning"]
    assert marked == [("step", 10), ("validation", 10)]
    assert [line["step"] for line in lines if line["kind"] == "step"] == [3, 4, 6, 8, 9, 10]
    again = go("run")
    assert isinstance(again[-1], Ended)
    assert again[-1].summary["best"].items() >= best.items()


def test_a_run_without_a_scheduled_validation_has_no_best_checkpoint(
    losses: dict[int, float], go: Callable[..., Any], tmp_path: Path
) -> None:
    losses[2] = 2.5
    events = go("run", "train.max_steps=2")
    assert [(event.loss, event.best) for event in events if isinstance(event, Validated)] == [(2.5, False)]
    assert events[-1].summary["best"] is None
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == ["config.yaml", "history.jsonl", "last.h5"]
    assert open_run(tmp_path / "run").warnings == ()


@pytest.mark.parametrize(
    ("options", "ends"),
    [
        (["validate.every=2"], ["train.epochs=3", "train.epochs=5"]),
        (["validate.score_every=2"], ["train.epochs=3"]),
        (["validate.score_every=2", "validate.best_metric=cider_d"], ["train.epochs=3", "train.max_steps=9"]),
        (["validate.every=3", "validate.score_every=3", "validate.best_metric=bleu4"], ["train.epochs=1"]),
    ],
    ids=["loss", "scores", "best by scores", "no validation before the end"],
)
def test_resuming_after_an_end_between_validations(
    options: list[str],
    ends: list[str],
    losses: dict[int, float],
    go: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores increase with the step, so that the validation at the end is the best so far if it is scored."""
    monkeypatch.setattr(Validation, "scores", lambda self, loaded: dict.fromkeys(NAMES, loaded.meta.step / 100))
    losses |= {9: 1.0}
    go("uninterrupted", *options, "train.epochs=7")
    for end in ends:
        go(end, *options, end)
        go(end, "train.epochs=7", "train.max_steps=null")
        assert_same(tmp_path / end, tmp_path / "uninterrupted")


# --- captioner train --resume-or-start

OF_REPEATED = ("train.batch_size=16", "train.learning_rate=0.01", "train.epochs=2", "train.log_every=1")
TWO_EPOCHS = 26


@pytest.fixture
def repeat(cli: Callable[..., Any], small_options: Sequence[str], tmp_path: Path) -> Callable[..., Any]:
    """Run the command once more."""

    def run(*more: object) -> Any:
        return cli(
            "train",
            *small_options,
            *(f"--set={option}" for option in OF_REPEATED),
            *more,
            "--resume-or-start",
            tmp_path / "run",
        )

    return run


@pytest.fixture(scope="module")
def uninterrupted(train_run: TrainRun) -> Path:
    return train_run(*OF_REPEATED)


def modified(run: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in run.iterdir()}


def test_it_starts_and_then_does_nothing(repeat: Callable[..., Any], uninterrupted: Path, tmp_path: Path) -> None:
    first = repeat()
    assert (first.code, first.out) == (0, "")
    assert_same_arrays(tmp_path / "run", uninterrupted)
    before = modified(tmp_path / "run")
    again = repeat()
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith(f"done after {TWO_EPOCHS} steps, ")
    assert again.err.count("\n") == 1
    assert modified(tmp_path / "run") == before


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    repeat: Callable[..., Any], uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(uninterrupted / "config.yaml", run)
    lines = (uninterrupted / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:3]) + '{"kind": "st')
    assert repeat().code == 0
    assert_same_arrays(run, uninterrupted)
    assert records(run) == records(uninterrupted)


def test_a_stopped_run_has_not_ended(repeat: Callable[..., Any], uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert repeat("-o", "train.max_steps=20").code == 0
    text = (run / "history.jsonl").read_text()
    (run / "history.jsonl").write_text(text.replace('"ended": "done"', '"ended": "stopped"'))
    assert "from step 20" in repeat("-o", "train.max_steps=null").err
    assert_same_arrays(run, uninterrupted)


def test_another_config_file_is_reported(repeat: Callable[..., Any], tmp_path: Path) -> None:
    assert repeat().code == 0
    (tmp_path / "other.yaml").write_text("train: {patience: 9}\ndecode: {beam_width: 4}\n")
    done = repeat("-c", tmp_path / "other.yaml")
    assert done.code == 0
    assert done.err.startswith(
        f"warning: {tmp_path / 'run'}: the run continues with its own config, in which train.patience, "
        "decode.beam_width differ from the given one; options that can change are set with -o\n"
    )
