"""Train a model in a run folder, as an iterator of events."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import captioner
from captioner.config.option_table import OPTIONS
from captioner.config.options import Config
from captioner.config.yaml_io import dump
from captioner.data.corpus import Corpus
from captioner.errors import DivergenceError, UsageError
from captioner.files.checkpoint import Base, Card, one_line
from captioner.files.user_files import to_json
from captioner.inference.load import open_run
from captioner.model.losses import perplexity
from captioner.optim.update_rules import UPDATE_RULES
from captioner.parallel.blas import set_threads
from captioner.parallel.environment import versions
from captioner.parallel.hardware import oversubscription
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks, check_same
from captioner.parallel.thread_pool import ThreadPool
from captioner.preparation.encode import sha256_of
from captioner.preparation.load_corpus import build_corpus
from captioner.training.build import (
    build_batches,
    build_model,
    build_plan,
    ignored_options,
    initialize_from,
    long_warmup,
)
from captioner.training.events import Ended, Event, Started, Validated, Warned
from captioner.training.learned_captions import captions_digest, learned_corpus
from captioner.training.recorder import Recorder
from captioner.training.run_folder import INIT_FROM, RunFolder
from captioner.training.self_critical import check_references
from captioner.training.solver import Batches, Step, Stopwatch, TrainState, check_loss, recheck_loss, steps
from captioner.training.validation import Validation

ALL_REDUCE = "all-reduce"
PARTS = ("reading", "forward", "backward", ALL_REDUCE, "update", "validation", "saving")
"""Timed phases of training. `reading` is the time spent waiting for batches; `all-reduce` is that of waiting for other
ranks and adding their gradients."""
LOCAL = ("threads",)
"""Options that may differ between ranks, in addition to paths."""


def train(
    config: Config,
    folder: str | os.PathLike[str],
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_PROCESS,
) -> Iterator[Event]:
    """Train a new model in a new run folder.

    `stop()` is called after every step; if it returns true, training saves a checkpoint and ends. After a `break` out
    of the iterator, `resume` continues from the last checkpoint. BLAS is limited to one thread in the whole process.
    All `ranks` make the same call, and their `stop()` return the same.

    Raises: UsageError, DataError, DivergenceError, CheckpointError, ConfigError.
    """
    training = new_training(config, RunFolder(Path(folder), ranks))
    training.create(overwrite)
    yield from training.events(stop)


def new_training(config: Config, run: RunFolder, kind: type[Training] | None = None) -> Training:
    """Build the data set and the model of a new run, without writing to its folder; `kind` is by default `Training`.

    Raises: as `train`.
    """
    restored = None if config.train.init_from is None else open_run(config.train.init_from)
    if restored and os.path.realpath(run.path) == os.path.realpath(restored.path.parent):
        # a repeated command would start from a half-trained model
        raise UsageError(f"{run.path}: is the folder of train.init_from; choose another folder with --run")
    corpus = build_corpus(config, restored.vocab if restored else None)
    if config.train.objective == "self_critical":
        check_references(corpus.split("train"))
    learned, warnings = learned_corpus(config, corpus)
    initial: dict[str, Any] = {}
    model, base = build_model(config, corpus), list[Base]()
    if restored:
        base = restored.meta.card.as_base(restored.path)
        model, initial = initialize_from(model, config, restored, corpus)
    start = TrainState.fresh(model, UPDATE_RULES[config.train.update_rule], config.train.ema_decay is not None)
    digests = corpus.fingerprint(), corpus.probe(), captions_digest(learned.split("train"))
    captions = config.data.captions
    described = "" if captions is None else one_line(f"{captions.name}, sha256={sha256_of(captions)}")
    card = Card(base=base, captions=described)
    recorder = Recorder(config, run, corpus, *digests, model, start, card=card)
    return (kind or Training)(recorder, learned, [*ignored_options(config), *warnings], initial)


class Training:
    """One call of `train` or `resume`: run the solver, log, validate and save.

    The batches are taken from the training split of `training_corpus` (`learned_corpus`). `initial` is what
    `initialize_from` recorded about the parameters of a new run.
    """

    def __init__(
        self,
        recorder: Recorder,
        training_corpus: Corpus,
        warnings: Iterable[str] = (),
        initial: dict[str, Any] | None = None,
    ) -> None:
        check_replicas(recorder)
        self.recorder, self.training_corpus, self.initial = recorder, training_corpus, initial
        self.outcome: dict[str, Any] = {}
        self.config, self.run, self.corpus = recorder.config, recorder.run, recorder.corpus
        self.model, self.state, self.ranks = recorder.model, recorder.state, recorder.run.ranks
        self.warnings = [*warnings, *oversubscription(self.config.threads, self.ranks.local_size)]
        set_threads(1)
        self.warned: set[str] = set()
        self.words, self.watch, self.pool = 0, Stopwatch(), ThreadPool(self.config.threads)
        self.validation = Validation(self.config, self.corpus, self.pool, self.ranks)
        self.plan = build_plan(self.config, training_corpus.split("train"))

    def create(self, overwrite: bool) -> None:
        """Create the folder of a new run."""
        self.run.create(overwrite, dump(self.config))
        self.run.write(self.run.config, dump(self.config))
        if self.initial:
            self.recorder.log(INIT_FROM, {"step": 0, **self.initial}, at_end=False)

    def events(self, stop: Callable[[], bool]) -> Iterator[Event]:
        """Train, and yield the events; `stop()` is called after every step."""
        began, first = time.perf_counter(), self.state.step
        counts = self.model.parameter_count, first, self.plan.span.total_steps, self.plan.span.steps_per_epoch
        yield Started(self.run.path, self.config, self.training_corpus, *counts, self.run.initialization())
        yield from (Warned(first, warning) for warning in (*self.warnings, *long_warmup(self.config, self.plan.span)))
        try:
            arguments = self.config, self.training_corpus, self.model, self.plan.span.total_steps, self.pool, self.ranks
            with build_batches(*arguments) as batches:
                reason = yield from self._run(batches, stop)
        except DivergenceError as error:
            self._summarize("diverged", began, first)
            saved = self.recorder.saved
            note = f"{self.run.last} contains step {saved}, before the divergence" if saved else "no checkpoint yet"
            raise DivergenceError(f"{error}; {note}{self.run.previous_run_note()}") from error
        if self.config.decode.consensus:
            with self.watch("saving"):
                self.recorder.save_reranker(lambda: self.validation.index)
        yield Ended(self.run.path, self._summarize(reason, began, first))

    def _run(self, batches: Batches, stop: Callable[[], bool]) -> Generator[Step | Validated | Warned, None, str]:
        """Train, and return the reason for the end."""
        options, span = self.config.train, self.plan.span
        if self._out_of_patience():
            return "early stopping"
        for step in steps(self.model, batches, self.state, self.plan, self.watch, self.pool, self.ranks.all_reduce):
            self.words += step.words
            yield step
            epoch_ended, at_end = step.step % span.steps_per_epoch == 0, step.step == span.total_steps
            is_logged = epoch_ended or step.step % options.log_every == 0
            if is_logged or at_end:
                self.recorder.log("step", step.record(), at_end=not is_logged)
            validations = list(self._validate(step, epoch_ended, at_end))
            should_stop = stop()
            if epoch_ended or at_end or should_stop or (options.save_every and step.step % options.save_every == 0):
                with self.watch("saving"):
                    recheck_loss(self.model, batches, self.state, self.pool, self.ranks.all_reduce)
                    self.recorder.save()
            # After saving, so that a `break` at these events leaves a run that can be resumed.
            yield from validations
            if should_stop:
                return "stopped"
            if self._out_of_patience() and not at_end:
                return "early stopping"
        return "done" if self.words else "nothing left to do"

    def _out_of_patience(self) -> bool:
        patience = self.config.train.patience
        return patience is not None and self.recorder.since_best >= patience

    def _validate(self, step: Step, epoch_ended: bool, at_end: bool) -> Iterator[Validated | Warned]:
        """Validate when due, and at the end of the run measure also what is not due."""
        due = epoch_ended and self.validation.is_due(step)
        scored = due and self.validation.is_scored(step)
        scored_at_end = self.config.validate.score_every is not None
        extra = at_end and not (scored if scored_at_end else due)
        if not due and not extra:
            return
        with self.watch("validation"):
            loss = self.validation.loss(self.recorder.eval_model)
        check_loss(self.model, step.step, loss)
        events = [self._record(step, loss, scored, at_end=False)] if due else []
        events += [self._record(step, loss, scored_at_end, at_end=True)] if extra else []
        yield events[-1]._replace(best=any(event.best for event in events))
        with self.watch("validation"):
            collapse = self.ranks.on_rank_0(lambda: list(self.validation.collapse(self.recorder.restored(), step)))
        for kind, problem in collapse:
            place = {"step": step.step, "epoch": step.epoch}
            self.recorder.log("warning", {**place, "collapse": kind, "problem": problem}, at_end=not due)
            if kind not in self.warned:
                self.warned.add(kind)
                yield Warned(step.step, problem)

    def _record(self, step: Step, loss: float, scored: bool, at_end: bool) -> Validated:
        with self.watch("validation"):
            scores = self.validation.scores(self.recorder.restored()) if scored else {}
        with self.watch("saving"):
            return self.recorder.record_validation(step, loss, scores, at_end)

    def _summarize(self, reason: str, began: float, first: int) -> dict[str, Any]:
        """Return the content of summary.json, and write it unless nothing was left to do."""
        seconds, best = time.perf_counter() - began, self.recorder.best_at_end or self.recorder.best
        profile = {part: self.watch.seconds[part] for part in PARTS if part != ALL_REDUCE or self.ranks.size > 1}
        profile["other"] = seconds - sum(profile.values())
        initialization = self.run.initialization()
        summary = {
            "ended": reason,
            "steps": self.state.step,
            "best": best and {**best, "perplexity": perplexity(best["loss"])},
            "seconds": round(seconds, 3),
            "steps_this_time": self.state.step - first,
            "words_per_second": round(self.words / max(seconds, 1e-9)),
            "profile": {part: round(spent, 3) for part, spent in profile.items()},
            "threads": self.pool.size,
            "ranks": self.ranks.size,
            "parameters": self.model.parameter_count,
            **({INIT_FROM: initialization} if initialization else {}),
            "versions": versions(),
            **self.outcome,
        }
        if self.state.step > first or not self.ranks.on_rank_0(self.run.summary.exists):
            self.run.write(self.run.summary, to_json(summary, indent=2) + "\n")
        return summary


def check_replicas(recorder: Recorder) -> None:
    """Check that all ranks have the same options and data: otherwise they would hang, or train on a mixture.

    Raises: UsageError, on all ranks.
    """
    ranks, config = recorder.run.ranks, recorder.config
    values = {path: attrgetter(path)(config) for path, option in OPTIONS.items() if option.kind is not Path}
    shared = {path: value for path, value in values.items() if path not in LOCAL}
    state = {
        "captions, images or splits": recorder.fingerprint,
        "learned captions": recorder.learned,
        "training step": recorder.state.step,
    }
    check_same(ranks, {**shared, **state, "version": captioner.__version__})
    check_same(ranks, {"features": recorder.probe}, same_probe)
    check_same(ranks, {"features or raw captions": recorder.corpus.content})


def same_probe(probe: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two probes are of the same features; CPUs may round them differently."""
    return all(math.isclose(*pair, rel_tol=1e-3, abs_tol=1e-9) for pair in zip(probe, other, strict=False))
