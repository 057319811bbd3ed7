"""Interrupt and resume trainings of random configs: results must equal those of an uninterrupted run."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.cli.processes import stop_signals
from captioner.config.options import Config
from captioner.config.yaml_io import dump, parse
from captioner.data.prepared import write_prepared
from captioner.errors import DivergenceError
from captioner.preparation.load_corpus import build_corpus
from captioner.storage import checkpoint
from captioner.training.events import Started
from captioner.training.resume import resume
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step
from captioner.training.train import train
from faults import configs, watch
from faults.processes import difference
from faults.session import Row, Session, row
from faults.watch import Outcome

TINY = {
    "data.scenes.train": 12,
    "data.scenes.val": 4,
    "data.scenes.test": 1,
    "data.scenes.heldout": 3,
}
WIDE = 25_000
"""Feature width at which 12 images exceed 1 MiB, so that features are prefetched from the file."""
SMALL = np.float32(0.03)
"""Scale of the random wide features; larger values make training diverge."""
MOST_STOPS = 3
PATIENCE = 60.0


class Stop(NamedTuple):
    """How and at which step one call of train or resume is stopped."""

    kind: str
    step: int


class TrainCall(NamedTuple):
    """One call of train or resume: changed lengths, the stop callback, and when the caller abandons the iterator."""

    lengths: Mapping[str, int] = {}
    stop: Callable[[], bool] = lambda: False
    abandon: Callable[[], bool] = lambda: False


@dataclass
class Progress:
    """The current step of a training, and the signals received."""

    caught: list[int]
    step: int = 0


def _signalled(step: int, progress: Progress) -> TrainCall:
    def abandon() -> bool:
        if progress.step >= step and not progress.caught:
            os.kill(os.getpid(), (signal.SIGINT, signal.SIGTERM)[step % 2])
        return False

    return TrainCall(stop=lambda: bool(progress.caught), abandon=abandon)


STOPS: Mapping[str, Callable[[int, Progress, int], TrainCall]] = {
    "stop()": lambda step, progress, per_epoch: TrainCall(stop=lambda: progress.step >= step),
    "a signal": lambda step, progress, per_epoch: _signalled(step, progress),
    "left": lambda step, progress, per_epoch: TrainCall(abandon=lambda: progress.step >= step),
    "train.max_steps": lambda step, progress, per_epoch: TrainCall({"train.max_steps": step}),
    "train.epochs": lambda step, progress, per_epoch: TrainCall({"train.epochs": -(-step // per_epoch)}),
}
"""Ways to stop: callback, signal, abandoning the iterator (as a kill does), or a shorter length."""
SHORTER = ("train.max_steps", "train.epochs")
"""Stops that change the length, and therefore the cosine schedule."""


def train_until(folder: Path, config: Config, stop: Stop | None, per_epoch: int = 1) -> tuple[Started | None, str]:
    """Train, or resume from a checkpoint, until the end or the stop; return the start event and any divergence."""
    started, diverged = None, ""
    with stop_signals() as caught:
        progress = Progress(caught)
        here = STOPS[stop.kind](stop.step, progress, per_epoch) if stop else TrainCall()
        lengths = {"train.max_steps": config.train.max_steps, "train.epochs": config.train.epochs, **here.lengths}
        words = [f"{name}={'null' if value is None else value}" for name, value in lengths.items()]
        if RunFolder(folder).last.exists():
            events = resume(folder, words, here.stop)
        else:
            events = train(parse(dump(config), "a sampled config", words), folder, overwrite=True, stop=here.stop)
        try:
            for event in events:
                if isinstance(event, Started):
                    started = event
                if isinstance(event, Step):
                    progress.step = event.step
                if here.abandon():
                    break
        except DivergenceError as error:
            diverged = str(error).split("; ")[0]
        del events  # releases the folder lock
    return started, diverged


def compare(run: RunFolder, uninterrupted: RunFolder, diverged: bool = False) -> str:
    """Compare checkpoints bit by bit, metadata and history of two runs; return the first difference or "".

    If training diverged, the last checkpoints may differ, because a stop saves too.
    """
    pairs = [(run.best, uninterrupted.best), (run.before_end, uninterrupted.before_end)]
    for mine, theirs in pairs if diverged else [(run.last, uninterrupted.last), *pairs]:
        if mine.exists() != theirs.exists():
            return f"{mine.name}: {'there' if mine.exists() else 'missing'}"
        if mine.exists():
            one, other = checkpoint.load(mine), checkpoint.load(theirs)
            if problem := difference(one, other):
                return f"{mine.name}: {problem}"
            for name in ("best", "since_best", "words", "fingerprint", "probe", "encoder", "environment"):
                a, b = getattr(one.meta, name), getattr(other.meta, name)
                if a != b:
                    return f"{mine.name}: {name}: {a}, not {b}"
    histories = [one.history.read_text().splitlines() if one.history.exists() else [] for one in (run, uninterrupted)]
    for number, (got, expected) in enumerate(zip_longest(*histories), 1):
        if got != expected:
            return f"history.jsonl: line {number}: {_fields(got, expected)}"
    return ""


def _fields(one: str | None, other: str | None) -> str:
    """Describe the difference between two history lines."""
    if one is None or other is None:
        return f"{one or 'missing'}, not {other or 'missing'}"
    a, b = json.loads(one), json.loads(other)
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return ", ".join(f"{name} {a.get(name)}, not {b.get(name)}" for name in names) or "written otherwise"


@dataclass(frozen=True)
class Resumed:
    """Trial k trains with the k-th random config, without and with interruptions."""

    folder: Path
    seed: int

    def __call__(self, trial: int) -> Outcome:
        rng = np.random.default_rng((self.seed, trial, 7))
        here = self.folder / f"trial-{trial}"
        here.mkdir(parents=True)
        config = self._config(rng, here)
        started, diverged = train_until(here / "uninterrupted", config, None)
        assert started is not None
        stops = self._stops(rng, config, started)
        divergence = ""
        for stop in (*stops, None):
            _, divergence = train_until(here / "run", config, stop, started.steps_per_epoch)
        problem = "" if divergence == diverged else f"diverged: {divergence}, not {diverged}"
        problem = problem or compare(RunFolder(here / "run"), RunFolder(here / "uninterrupted"), bool(diverged))
        shutil.rmtree(here)
        if problem:
            return Outcome("wrong", f"{problem}; {', '.join(f'{kind} at {step}' for kind, step in stops)}")
        return Outcome("diverged alike" if diverged else "bit-identical, same history")

    def _config(self, rng: np.random.Generator, here: Path) -> Config:
        config = configs.sample_config(rng, self._data(rng, here), here / "start")
        if config.train.init_from is not None:
            plain = dataclasses.replace(Config().train, epochs=3, batch_size=16, learning_rate=0.003)
            train_until(here / "start", dataclasses.replace(config, train=plain), None)
        return config

    def _data(self, rng: np.random.Generator, here: Path) -> dict[str, Any]:
        """Use generated scenes, or a feature file larger than the memory limit."""
        if rng.random() < 0.8:
            return TINY
        corpus = build_corpus(parse("", "", [f"{name}={value}" for name, value in TINY.items()]))
        splits = {
            name: dataclasses.replace(
                split, features=SMALL * rng.standard_normal((len(split.image_ids), WIDE), np.float32)
            )
            for name, split in corpus.splits.items()
        }
        write_prepared(here / "data.h5", dataclasses.replace(corpus, splits=splits), {})
        return {"data.source": "prepared", "data.root": here / "data.h5"}

    def _stops(self, rng: np.random.Generator, config: Config, started: Started) -> Sequence[Stop]:
        """Sample up to three stops in step order; none changes the length if the schedule depends on it."""
        kinds = [kind for kind in STOPS if config.train.schedule != "cosine" or kind not in SHORTER]
        count = int(rng.integers(1, MOST_STOPS + 1))
        at = np.sort(rng.integers(1, max(2, started.total_steps), count)).tolist()
        return [Stop(kinds[int(rng.integers(len(kinds)))], step) for step in at]


def measure(session: Session) -> Iterator[Row]:
    trial = Resumed(session.folder("resumed"), session.seed)
    tally = watch.run(trial, session.count(200), patience=PATIENCE)
    must = "parameters, optimizer state and history equal those of an uninterrupted run"
    yield row("random configs, stopped and resumed", must, tally)
