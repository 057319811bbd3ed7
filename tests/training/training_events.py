"""Small trainings and what is checked of them: events, history and validation losses."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from captioner.config.options import Config
from captioner.config.yaml_io import parse
from captioner.training import validation
from captioner.training.events import Ended, Event, Started, Validated, Warned
from captioner.training.solver import Step
from captioner.training.train import train

PER_EPOCH = 4
FILES = ["best.h5", "config.yaml", "history.jsonl", "last.h5", "summary.json"]


@pytest.fixture(scope="session")
def small_config(small: Sequence[str]) -> Callable[..., Config]:
    """A config of a small training with overrides."""
    return lambda *overrides: parse("", "", [*small, "train.log_every=1", *overrides])


@pytest.fixture
def new_run(tmp_path: Path) -> Path:
    """The folder of a run that does not exist yet."""
    return tmp_path / "run"


@pytest.fixture
def train_small(small_config: Callable[..., Config], new_run: Path) -> Callable[..., list[Event]]:
    """Trains a small run in `new_run`, and returns its events."""
    return lambda *overrides, **options: list(train(small_config(*overrides), new_run, **options))


def history(run: Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind in the history of a run."""
    lines = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


LETTERS = {Started: "<", Step: "s", Validated: "v", Warned: "w", Ended: ">"}


def kinds(events: list[Event]) -> str:
    """One letter per event."""
    return "".join(LETTERS[type(event)] for event in events)


def scripted_losses(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    """Replace the validation losses."""
    script = iter(losses)
    monkeypatch.setattr(validation, "mean_word_loss", lambda *_: next(script))
