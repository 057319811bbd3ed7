"""Training: a run folder filled by the solver, as an iterator of events."""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

import captioner
from captioner import checkpoint
from captioner.arrays import Array
from captioner.blas import set_threads
from captioner.config import Config
from captioner.configio import dump
from captioner.data.ahead import ReadAhead, in_memory
from captioner.data.batches import ShuffledBatches, in_order
from captioner.data.corpus import Corpus
from captioner.errors import CheckpointError, DataError, DivergenceError, UsageError
from captioner.metrics import NAMES
from captioner.model import CaptioningRNN
from captioner.optim import AVERAGE, RULES
from captioner.run.build import build_corpus, build_model, build_plan
from captioner.run.evaluate import Task, judge, task_of
from captioner.run.folder import RunFolder, to_json
from captioner.run.restore import Restored, restore, started
from captioner.run.sample import describe, open_corpus, open_run
from captioner.run.scst import SelfCritical
from captioner.run.surroundings import changes, surroundings
from captioner.run.symptoms import FIRST_EPOCH, symptoms
from captioner.solver import (
    Batches,
    Step,
    TrainState,
    look_again,
    mean_word_loss,
    perplexity,
    refuse_hopeless,
    steps,
)
from captioner.stopwatch import Stopwatch
from captioner.team import Team

PARTS = ("reading", "forward", "backward", "update", "validation", "saving")
"""Where the time of a training goes, apart from the rest; reading is the time waited for it."""

LENGTHS: dict[str, Callable[[Array, int], Array | None]] = {
    "shuffled": lambda captions, null: None,
    "by_length": lambda captions, null: (captions != null).sum(axis=1),
}
"""By what batches are sorted, from the captions and the id of `<NULL>`."""


class Began(NamedTuple):
    """Everything is loaded; training goes from `step` to `total_steps`."""

    folder: Path
    config: Config
    corpus: Corpus
    parameters: int
    step: int
    total_steps: int
    steps_per_epoch: int


class Validated(NamedTuple):
    """The loss of a word on the validation split, and where it is time for them the scores of the model's captions."""

    step: int
    epoch: int
    loss: float
    scores: dict[str, float]
    best: bool

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)


class Warned(NamedTuple):
    """Something that does not stop a training, but that its user should know."""

    step: int
    problem: str


class Ended(NamedTuple):
    """Training is over; the summary is what stands in summary.json."""

    folder: Path
    summary: dict[str, Any]


Event = Began | Step | Validated | Warned | Ended


def train(
    config: Config, folder: str | os.PathLike[str], overwrite: bool = False, stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Train a fresh model into a new run folder; `stop()` is asked after every step.

    Who leaves the iterator early goes back to the last checkpoint; a true `stop()` ends after saving. BLAS gets one
    thread for the whole process.

    Raises: UsageError, DataError, DivergenceError, CheckpointError.
    """
    run = RunFolder(Path(folder))
    corpus = build_corpus(config)
    model = build_model(config, corpus)
    if config.train.start is not None:
        model = started(model, open_run(config.train.start), corpus)
    start = TrainState.fresh(model, RULES[config.train.update_rule], config.train.average is not None)
    training = _Training(config, run, corpus, model, start)
    run.create(overwrite)
    run.write(run.config, dump(config))
    yield from training.events(stop)


def resume(
    folder: str | os.PathLike[str], overrides: Sequence[str] = (), stop: Callable[[], bool] = lambda: False
) -> Iterator[Event]:
    """Go on with a run exactly where its last checkpoint was written.

    Raises: UsageError, DataError, DivergenceError, CheckpointError.
    """
    run = RunFolder(Path(folder))
    parent = os.path.dirname(folder) or "."
    if os.path.isfile(folder) and (Path(parent) / run.last.name).exists():
        raise UsageError(f"{folder}: expected a run folder, got a file; try --resume {shlex.quote(parent)}")
    if not run.last.exists():
        raise CheckpointError(
            f"{folder}: no {run.last.name} here to resume from; expected a folder that `captioner train` made"
        )
    restored = restore(run.last, overrides)
    config = restored.config
    corpus = open_corpus(restored)
    expected, got = [*RULES[config.train.update_rule].slots], restored.slots.keys()
    expected += [AVERAGE] if config.train.average is not None else []
    if set(expected) != got:
        raise CheckpointError(f"{run.last}: slots: expected {', '.join(expected)}, got {', '.join(got) or 'none'}")
    model = restored.model.with_params(restored.params)
    state = TrainState(model.params, restored.slots, restored.meta.step)
    training = _Training(config, run, corpus, model, state, restored.meta.best, restored.meta.since_best)
    same_features = np.allclose(training.probe, restored.meta.probe, rtol=1e-3, atol=1e-9)
    if training.fingerprint != restored.meta.fingerprint or not same_features:
        what = "features" if training.fingerprint == restored.meta.fingerprint else "captions"
        raise UsageError(
            f"{run.last}: the {what} have changed since the run began, so it cannot go on exactly; "
            "restore them, or start a new run"
        )
    training.warnings.extend(changes(restored.meta.surroundings, surroundings(config.threads)))
    if training.over:
        run.claim()
    else:
        run.reopen(restored.meta.step)
        run.write(run.config, dump(config))
    yield from training.events(stop)


@dataclasses.dataclass
class _Training:
    """One call of train or resume: the solver's records are logged, validated and saved between steps."""

    config: Config
    run: RunFolder
    corpus: Corpus
    model: CaptioningRNN
    state: TrainState
    best: dict[str, float] | None = None
    since_best: int = 0
    warnings: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.split, validation = self.corpus.split("train"), self.config.validate.split
        if validation not in self.corpus.splits:
            raise DataError(
                f"validate.split: expected a split of this data set ({', '.join(self.corpus.splits)}), got "
                f"{validation}; try -o validate.split=train, or prepare it with --val 0.1"
            )
        self.validation = self.corpus.split(validation)
        self.fingerprint, self.probe = self.corpus.fingerprint(), self.corpus.probe()
        self.plan = build_plan(self.config, self.split)
        mean = self.state.slots.get(AVERAGE)
        self.speaker = self.model if mean is None else self.model.with_params(mean)
        self.over = self.state.step >= self.plan.span.total_steps
        self.saved = self.state.step or None
        set_threads(1)
        self.words, self.watch, self.team = 0, Stopwatch(), Team(self.config.threads)

    def events(self, stop: Callable[[], bool]) -> Iterator[Event]:
        began, first = time.perf_counter(), self.state.step
        yield self._began()
        yield from (Warned(first, problem) for problem in self.warnings)
        try:
            with self._batches() as batches:
                reason = yield from self._until_over(batches, stop)
        except DivergenceError as error:
            self._summarize("diverged", began, first)
            kept = "no checkpoint yet" if self.saved is None else f"{self.run.last} holds the good step {self.saved}"
            kept += self.run.told_before()
            raise DivergenceError(f"{error}; {kept}") from error
        yield Ended(self.run.path, self._summarize(reason, began, first))

    def _began(self) -> Began:
        count = sum(w.size for w in self.model.params.values())
        span = self.plan.span
        return Began(
            self.run.path, self.config, self.corpus, count, self.state.step, span.total_steps, span.steps_per_epoch
        )

    def _batches(self) -> AbstractContextManager[Batches]:
        """Only what may have to be read from a disk is worth a thread."""
        options, vocab = self.config.train, self.corpus.vocab
        lengths = LENGTHS[options.batches](self.split.captions, vocab.null)
        plain = ShuffledBatches(self.split, options.batch_size, self.config.seed, lengths)
        if options.objective == "scst":
            # Its batches come of the parameters as they are, so none can be made ahead.
            return nullcontext(SelfCritical(self.model, plain, vocab, self.config.seed, self.team))
        return nullcontext(plain) if in_memory(plain.split.features) else ReadAhead(plain, self.plan.span.total_steps)

    def _until_over(
        self, batches: Batches, stop: Callable[[], bool]
    ) -> Generator[Step | Validated | Warned, None, str]:
        """Train, and return why it is over."""
        options, span = self.config.train, self.plan.span
        if self._out_of_patience():
            return "no better validation"
        for step in steps(self.model, batches, self.state, self.plan, self.watch, self.team):
            self.words += step.words
            yield step
            ended = step.step % span.steps_per_epoch == 0 or step.step == span.total_steps
            if ended or step.step % options.log_every == 0:
                self.run.log(
                    {"kind": "step", **step._asdict(), "word_loss": step.word_loss, "perplexity": step.perplexity}
                )
            due = ended and (step.epoch % self.config.validate.every == 0 or step.step == span.total_steps)
            validations: list[Validated | Warned] = [self._validate(step), *self._look(step)] if due else []
            halt = stop()
            if ended or halt or (options.save_every and step.step % options.save_every == 0):
                with self.watch("saving"):
                    look_again(self.model, batches, self.state, self.team)
                self._save(self.run.last)
            # Only now: who leaves at this event leaves a run that can be resumed.
            yield from validations
            if halt:
                return "stopped"
            if self._out_of_patience():
                return "no better validation"
        return "nothing left to do" if self.over else "done"

    def _out_of_patience(self) -> bool:
        patience = self.config.train.patience
        return patience is not None and self.since_best >= patience

    def _validate(self, step: Step) -> Validated:
        batches = in_order(self.validation, self.config.train.batch_size, self.config.validate.max_captions)
        with self.watch("validation"):
            loss = mean_word_loss(self.speaker, batches, self.team)
            scores = self._scores() if self._is_scored(step) else {}
        refuse_hopeless(self.model, step.step, loss)
        found = {"loss": loss, **scores}
        better = self._is_better(found)
        self.since_best = 0 if better else self.since_best + 1
        if better:
            name = self.config.validate.best
            self.best = {"step": step.step, "epoch": step.epoch, "loss": loss, name: found[name]}
            self._save(self.run.best)
            self.run.found_best()
        event = Validated(step.step, step.epoch, loss, scores, better)
        self.run.log({"kind": "validation", **event._asdict(), "perplexity": event.perplexity})
        return event

    def _look(self, step: Step) -> Iterator[Warned]:
        """What the captions themselves tell, once they should tell anything."""
        if step.epoch >= FIRST_EPOCH:
            with self.watch("validation"):
                found = list(symptoms(self.speaker, self.validation, self.corpus.vocab, self.config.decode.max_length))
            for problem in found:
                self.run.log({"kind": "warning", "step": step.step, "epoch": step.epoch, "problem": problem})
                yield Warned(step.step, problem)

    def _is_scored(self, step: Step) -> bool:
        every = self.config.validate.metrics
        return every is not None and (step.epoch % every == 0 or step.step == self.plan.span.total_steps)

    def _scores(self) -> dict[str, float]:
        """How good the captions are that the model now writes for the validation images."""
        task, rows = self._task
        speaker = Restored(self.run.path, self.config, self.corpus.vocab, self.speaker, {}, {}, self._meta())
        captions = [caption for caption, _ in describe(speaker, self.validation.features)]
        figures = judge(task, "model", [captions[row] for row in rows]).figures
        return {name: figures[name] for name in NAMES}

    @cached_property
    def _task(self) -> tuple[Task, Array]:
        task, rows = task_of(self.corpus, self.config.validate.split)
        return dataclasses.replace(task, train=None), rows

    def _is_better(self, found: dict[str, float]) -> bool:
        """Losses are the better the lower, all others the higher; who is not scored is not compared."""
        name = self.config.validate.best
        if self.best is None or name not in found:
            return name in found
        return (found[name] < self.best[name]) if name == "loss" else (found[name] > self.best[name])

    def _meta(self) -> checkpoint.Meta:
        return checkpoint.Meta(
            config=dump(self.config),
            words=list(self.corpus.vocab.words),
            feature_dim=self.corpus.feature_dim,
            encoder=self.corpus.encoder,
            fingerprint=self.fingerprint,
            probe=self.probe,
            step=self.state.step,
            best=self.best,
            since_best=self.since_best,
            surroundings=surroundings(self.team.size),
        )

    def _save(self, path: Path) -> None:
        standard = self.model.standardizer
        arrays = self.state.params, self.state.slots, standard._asdict() if standard else {}
        with self.watch("saving"):
            checkpoint.save(path, checkpoint.Checkpoint(self._meta(), *arrays))
        if path == self.run.last:
            self.saved = self.state.step

    def _summarize(self, reason: str, began: float, first: int) -> dict[str, Any]:
        seconds = time.perf_counter() - began
        profile = {part: self.watch.seconds[part] for part in PARTS}
        profile["other"] = seconds - sum(profile.values())
        best: dict[str, Any] | None = self.best
        summary = {
            "ended": reason,
            "steps": self.state.step,
            "best": best and {**best, "perplexity": perplexity(best["loss"])},
            "seconds": round(seconds, 3),
            "steps_this_time": self.state.step - first,
            "words_per_second": round(self.words / max(seconds, 1e-9)),
            "profile": {part: round(spent, 3) for part, spent in profile.items()},
            "threads": self.team.size,
            "parameters": sum(w.size for w in self.model.params.values()),
            "versions": {
                "captioner": captioner.__version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "h5py": h5py.__version__,
            },
        }
        if self.state.step > first or not self.run.summary.exists():
            self.run.write(self.run.summary, to_json(summary, indent=2) + "\n")
        return summary
