"""Training: a run folder filled by the solver, as an iterator of events."""

from __future__ import annotations

import dataclasses
import os
import platform
import shlex
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import captioner
from captioner import checkpoint
from captioner.blas import set_threads
from captioner.config import Config
from captioner.configio import dump
from captioner.data.corpus import Corpus
from captioner.errors import CheckpointError, DivergenceError, UsageError
from captioner.model import CaptioningRNN
from captioner.optim import AVERAGE, RULES
from captioner.run import reranker
from captioner.run.build import build_batches, build_corpus, build_model, build_plan
from captioner.run.events import Began, Ended, Event, Validated, Warned
from captioner.run.folder import RunFolder, to_json
from captioner.run.restore import Restored, restore, started
from captioner.run.sample import open_corpus, open_run
from captioner.run.surroundings import changes, surroundings
from captioner.run.validation import Validation, is_better
from captioner.solver import (
    Batches,
    Step,
    TrainState,
    look_again,
    perplexity,
    refuse_hopeless,
    steps,
)
from captioner.stopwatch import Stopwatch
from captioner.team import Team

PARTS = ("reading", "forward", "backward", "update", "validation", "saving")
"""Where the time of a training goes, apart from the rest; reading is the time waited for it."""


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
        model = started(model, config, open_run(config.train.start), corpus)
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
        self.split = self.corpus.split("train")
        self.fingerprint, self.probe = self.corpus.fingerprint(), self.corpus.probe()
        self.train_fingerprint = self.corpus.fingerprint(["train"])
        self.plan = build_plan(self.config, self.split)
        mean = self.state.slots.get(AVERAGE)
        self.speaker = self.model if mean is None else self.model.with_params(mean)
        self.over = self.state.step >= self.plan.span.total_steps
        self.saved = self.state.step or None
        set_threads(1)
        self.words, self.watch, self.team = 0, Stopwatch(), Team(self.config.threads)
        self.validation = Validation(self.config, self.corpus, self.plan.span.total_steps, self.team)

    def events(self, stop: Callable[[], bool]) -> Iterator[Event]:
        began, first = time.perf_counter(), self.state.step
        yield self._began()
        yield from (Warned(first, problem) for problem in self.warnings)
        try:
            with build_batches(self.config, self.corpus, self.model, self.plan.span.total_steps, self.team) as batches:
                reason = yield from self._until_over(batches, stop)
        except DivergenceError as error:
            self._summarize("diverged", began, first)
            kept = "no checkpoint yet" if self.saved is None else f"{self.run.last} holds the good step {self.saved}"
            kept += self.run.told_before()
            raise DivergenceError(f"{error}; {kept}") from error
        self._save_reranker()
        yield Ended(self.run.path, self._summarize(reason, began, first))

    def _began(self) -> Began:
        count = sum(w.size for w in self.model.params.values())
        span = self.plan.span
        return Began(
            self.run.path, self.config, self.corpus, count, self.state.step, span.total_steps, span.steps_per_epoch
        )

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
            due = ended and self.validation.is_due(step)
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
        with self.watch("validation"):
            loss = self.validation.loss(self.speaker)
            scores = self.validation.scores(self._restored()) if self.validation.is_scored(step) else {}
        refuse_hopeless(self.model, step.step, loss)
        name, found = self.config.validate.best, {"loss": loss, **scores}
        better = is_better(name, found, self.best)
        if name in found:
            self.since_best = 0 if better else self.since_best + 1
        if better:
            self.best = {"step": step.step, "epoch": step.epoch, "loss": loss, name: found[name]}
            self._save(self.run.best)
            self.run.found_best()
        event = Validated(step.step, step.epoch, loss, scores, better)
        self.run.log({"kind": "validation", **event._asdict(), "perplexity": event.perplexity})
        return event

    def _look(self, step: Step) -> Iterator[Warned]:
        with self.watch("validation"):
            problems = list(self.validation.problems(self.speaker, step))
        for problem in problems:
            self.run.log({"kind": "warning", "step": step.step, "epoch": step.epoch, "problem": problem})
            yield Warned(step.step, problem)

    def _restored(self) -> Restored:
        """What a checkpoint of this moment would be restored to."""
        state = self.state
        return Restored(
            self.run.path, self.config, self.corpus.vocab, self.speaker, state.params, state.slots, self._meta()
        )

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
            train_fingerprint=self.train_fingerprint,
        )

    def _save(self, path: Path) -> None:
        standard = self.model.standardizer
        arrays = self.state.params, self.state.slots, standard._asdict() if standard else {}
        with self.watch("saving"):
            checkpoint.save(path, checkpoint.Checkpoint(self._meta(), *arrays))
        if path == self.run.last:
            self.saved = self.state.step

    def _save_reranker(self) -> None:
        """Keep what re-ranking needs of the data set, where the options ask for it; it is the same for every step."""
        with self.watch("saving"):
            if self.config.decode.consensus and not reranker.is_current(self.run.reranker, self.corpus):
                reranker.save(self.run.reranker, self.validation.index)

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
