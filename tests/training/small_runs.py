"""Small trainings and what is checked of them: events, history, checkpoints and validation losses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_options import fitting

from captioner.config.options import Config
from captioner.config.overrides import override
from captioner.files import checkpoint
from captioner.training import validation
from captioner.training.run_folder import end_of, records
from captioner.training.solver import Step
from captioner.training.train import Ended, Estimated, Event, Started, Validated, Warned, train

PER_EPOCH = 4
FILES = ["best.h5", "config.yaml", "history.jsonl", "last.h5"]
TrainRun = Callable[..., Path]


@pytest.fixture(scope="session")
def small_config() -> Callable[..., Config]:
    """A config of a small training with overrides."""

    def config(*overrides: str) -> Config:
        return override(Config(), fitting("train.log_every=1", *overrides))

    return config


@pytest.fixture
def new_run(tmp_path: Path) -> Path:
    """The folder of a run that does not exist yet."""
    return tmp_path / "run"


@pytest.fixture
def train_small(small_config: Callable[..., Config], new_run: Path) -> Callable[..., list[Event]]:
    """Trains a small run in `new_run`, and returns its events."""
    return lambda *overrides, **options: list(train(small_config(*overrides), new_run, **options))


@pytest.fixture(scope="session")
def train_run(small_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory) -> TrainRun:
    """Trains a small run in a new folder, and returns the folder."""

    def run(*overrides: str, **options: Any) -> Path:
        folder = tmp_path_factory.mktemp("runs") / "run"
        for _ in train(small_config(*overrides), folder, **options):
            pass
        return folder

    return run


def history(run: Path, kind: str = "") -> list[dict[str, Any]]:
    """The records of one kind in the history of a run, or all but that of the end, which has times."""
    records = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [record for record in records if kind == record["kind"] or (not kind and record["kind"] != "end")]


def summary(run: Path) -> dict[str, Any]:
    """How a run ended."""
    return end_of(records(run / "history.jsonl"))


def contents(run: Path) -> dict[str, bytes]:
    """The content of each file of a run."""
    return {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}


def assert_same_arrays(run: Path, other: Path) -> None:
    """Check that the last checkpoints of two runs have equal parameters, slots and standardizers."""
    groups, others = (checkpoint.load(folder / "last.h5").groups() for folder in (run, other))
    assert groups.keys() == others.keys()
    for group, arrays in groups.items():
        assert arrays.keys() == others[group].keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, others[group][name], err_msg=f"{group}/{name}")


LETTERS = {Started: "<", Estimated: "~", Step: "s", Validated: "v", Warned: "w", Ended: ">"}


def kinds(events: list[Event]) -> str:
    """One letter per event."""
    return "".join(LETTERS[type(event)] for event in events)


def scripted_losses(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    """Replace the validation losses."""
    script = iter(losses)
    monkeypatch.setattr(validation, "mean_word_loss", lambda *_: next(script))
