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
from captioner.config.checks import CONSTRAINTS
from captioner.config.option_table import replaced
from captioner.config.options import Config
from captioner.config.overrides import override
from captioner.config.yaml_io import parse
from captioner.data.prepared import write_prepared
from captioner.errors import DivergenceError
from captioner.files import checkpoint
from captioner.files.checkpoint import Checkpoint
from captioner.model.build import DECODERS
from captioner.preparation.load_corpus import build_corpus
from captioner.training.resume import resume
from captioner.training.run_folder import RunFolder
from captioner.training.solver import Step
from captioner.training.train import Started, train
from faults.session import Outcome, Row, Session

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
        if RunFolder(folder).last.exists():
            events = resume(folder, lengths, here.stop)
        else:
            events = train(override(config, lengths), folder, overwrite=True, stop=here.stop)
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


def difference(saved: Checkpoint, other: Checkpoint) -> str:
    """Compare the steps and the arrays of two checkpoints bit by bit; return the first difference or ""."""
    if saved.meta.step != other.meta.step:
        return f"step {saved.meta.step}, not {other.meta.step}"
    bits, other_bits = (
        {
            f"{group}/{name}": array.tobytes()
            for group, arrays in each.groups().items()
            for name, array in arrays.items()
        }
        for each in (saved, other)
    )
    different = [name for name in sorted(bits.keys() | other_bits.keys()) if bits.get(name) != other_bits.get(name)]
    return f"{different[0]} differs" if different else ""


def compare(run: RunFolder, uninterrupted: RunFolder, diverged: bool = False) -> str:
    """Compare checkpoints bit by bit, metadata and history of two runs; return the first difference or "".

    If training diverged, the last checkpoints may differ, because a stop saves too.
    """
    pairs = [(run.best, uninterrupted.best)]
    for mine, theirs in pairs if diverged else [(run.last, uninterrupted.last), *pairs]:
        if mine.exists() != theirs.exists():
            return f"{mine.name}: {'there' if mine.exists() else 'missing'}"
        if mine.exists():
            saved, expected = checkpoint.load(mine), checkpoint.load(theirs)
            if problem := difference(saved, expected):
                return f"{mine.name}: {problem}"
            for name in ("best", "since_best", "words", "data_digest", "train_digest", "encoder", "environment"):
                a, b = getattr(saved.meta, name), getattr(expected.meta, name)
                if a != b:
                    return f"{mine.name}: {name}: {a}, not {b}"
    files = run.history, uninterrupted.history
    histories = [_lines(file.read_text()) if file.exists() else [] for file in files]
    for number, (line, expected_line) in enumerate(zip_longest(*histories), 1):
        if line != expected_line:
            return f"history.jsonl: line {number}: {_fields(line, expected_line)}"
    return ""


def _lines(history: str) -> list[str]:
    """Return the lines of a history without the record of the end, which has times."""
    return [line for line in history.splitlines() if not line.startswith('{"kind": "end"')]


def _fields(line: str | None, expected: str | None) -> str:
    """Describe the difference between two history lines."""
    if line is None or expected is None:
        return f"{line or 'missing'}, not {expected or 'missing'}"
    a, b = json.loads(line), json.loads(expected)
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
        config = sample_config(rng, self._data(rng, here), here / "start")
        if config.train.init_from is not None:
            # a small learning rate: a base model that diverges has no checkpoint
            plain = dataclasses.replace(Config().train, epochs=3, batch_size=16, learning_rate=3e-4)
            data = dataclasses.replace(config.data, vocabulary="union")  # the base model has no base model
            train_until(here / "start", dataclasses.replace(config, train=plain, data=data), None)
        return config

    def _data(self, rng: np.random.Generator, here: Path) -> dict[str, Any]:
        """Use generated scenes, or a feature file larger than the memory limit."""
        if rng.random() < 0.8:
            return TINY
        corpus = build_corpus(parse("", "", TINY))
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
    must = "parameters, optimizer state and history equal those of an uninterrupted run"
    yield session.run("random configs, stopped and resumed", must, trial, 200)


Sampler = Callable[[np.random.Generator], Any]


def choice(*values: Any) -> Sampler:
    """Sample uniformly from `values`; a repeated value is proportionally more likely."""
    return lambda rng: values[int(rng.integers(len(values)))]


SAMPLERS: Mapping[str, Sampler] = {
    "seed": choice(0, 1, 2, 77),
    "threads": choice(1, 1, 2, 3),
    "data.vocabulary": choice("union", "data_set"),
    "data.standardize": choice(False, True),
    "data.max_captions_per_image": choice(None, None, 1, 2),
    "data.max_train": choice(None, None, 23, 40),
    "data.memory_mib": choice(1, 1024),
    "model.decoder": choice(*DECODERS),
    "model.wordvec_dim": choice(4, 7, 12),
    "model.hidden_dim": choice(4, 8, 12),
    "model.layers": choice(1, 2),
    "model.heads": choice(1, 2, 4),
    "model.feed_forward_dim": choice(5, 16),
    "model.activation": choice("relu", "gelu"),
    "model.image_input": choice("init", "first", "every"),
    "model.attention": choice("none", "adaptive"),
    "model.attention_dim": choice(5, 8),
    "model.dtype": choice("float32", "float64"),
    "model.dropout_features": choice(0.0, 0.2),
    "model.dropout_embedding": choice(0.0, 0.3),
    "model.dropout_hidden": choice(0.0, 0.4),
    "model.dropout_regions": choice(0.0, 0.2),
    "model.dropout_keys": choice(0.0, 0.3),
    "model.dropout_layers": choice(0.0, 0.3),
    "model.forget_bias": choice(0.0, 1.0),
    "model.output_bias": choice("zeros", "log_frequency"),
    "train.objective": choice("cross_entropy", "cross_entropy", "cross_entropy", "self_critical"),
    "train.epochs": choice(1, 2, 3, 5),
    "train.min_epoch_steps": choice(1, 1, 4),
    "train.max_steps": choice(None, None, 7, 11, 18),
    "train.batch_size": choice(7, 16, 16, 300),
    "train.captions_per_image": choice(1, 2, 5),
    "train.samples": choice(2, 5),
    "train.similarity_weight": choice(0.0, 1.0, 10.0),
    "train.label_smoothing": choice(0.0, 0.1, 0.6),
    "train.ema_decay": choice(None, 0.5, 0.99),
    "train.update_rule": choice("sgd", "sgd_momentum", "rmsprop", "adam", "adam", "adamw"),
    "train.learning_rate": choice(0.001, 0.01, 0.05),
    "train.weight_decay": choice(0.0, 0.1),
    "train.clip_norm": choice(None, 0.05, 1.0, 5.0),
    "train.schedule": choice("constant", "exponential", "cosine"),
    "train.lr_decay": choice(1.0, 0.7),
    "train.warmup_steps": choice(0, 0, 3, 30),
    "train.log_every": choice(1, 2, 3, 10),
    "train.save_every": choice(None, None, 1, 4),
    "train.patience": choice(None, 1, 2, 3),
    "validate.every": choice(1, 1, 2, 3),
    "validate.split": choice("val", "val", "train", "heldout"),
    "validate.score_every": choice(None, None, 1, 2, 3),
    "validate.best_metric": choice(None, "loss", "loss", "bleu1", "rouge_l", "cider_d"),
    "decode.max_length": choice(4, 12, 30),
    "decode.min_length": choice(0, 3),
    "decode.no_repeat_ngram": choice(None, 2),
    "decode.suppress_words": choice(None, "a", "red, blue"),
    "decode.suppress_unk": choice(False, True),
    "decode.method": choice("beam", "sampling"),
    "decode.beam_width": choice(1, 3),
    "decode.length_penalty": choice(0.0, 0.7),
    "decode.unfamiliar_below": choice(5.0, 0.0),
    "decode.uncertain_below": choice(0.0, 0.5),
    "decode.guidance_weight": choice(0.0, 2.0),
    "decode.similarity_weight": choice(0.0, 20.0),
    "decode.temperature": choice(1.0, 0.5),
    "decode.top_k": choice(None, 5),
    "decode.top_p": choice(1.0, 0.8),
    "decode.seed": choice(0, 3),
}
"""Sampler of each option. The options of the data set and `train.init_from` are passed in."""


def sample_config(rng: np.random.Generator, fixed: Mapping[str, Any], start: Path) -> Config:
    """Sample a valid config; options that violate a constraint keep their defaults.

    Self-critical training starts from `start`.
    """
    values = {name: choose(rng) for name, choose in SAMPLERS.items()} | dict(fixed)
    if values["model.decoder"] != "lstm":
        del values["model.forget_bias"]
    if values.get("data.source") == "prepared":
        del values["model.attention"]  # it has no regions
    if values["train.objective"] == "self_critical":
        values["train.init_from"] = start
    while broken := [rule for rule in CONSTRAINTS if not rule.holds(replaced(Config(), values))]:
        del values[broken[0].option]
    return override(replaced(Config(), values))
