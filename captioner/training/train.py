"""Train a model in a run folder, as an iterator of events, which are defined here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeAlias

from captioner.captioning.load import open_run
from captioner.config.checks import score_interval
from captioner.config.options import Config
from captioner.config.yaml_io import dump
from captioner.data.corpus import Corpus
from captioner.errors import DivergenceError
from captioner.files.checkpoint import Base, Card, one_line
from captioner.files.history import END, INIT_FROM, end_of, initialization, records
from captioner.files.user_files import sha256_of
from captioner.metrics import NAMES
from captioner.model.losses import perplexity
from captioner.optim import UPDATE_RULES
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.preparation.load_corpus import build_corpus
from captioner.training.build import (
    build_batches,
    build_model,
    ignored_options,
    initialize_from,
    long_warmup,
)
from captioner.training.learned_captions import learned_corpus
from captioner.training.run_folder import RunFolder, check_inputs
from captioner.training.self_critical import check_references
from captioner.training.solver import Batches, Step, TrainState, check_loss, recheck_loss, steps
from captioner.training.training import Training, versions
from captioner.training.validation import is_better

ALL_REDUCE = "all-reduce"
PARTS = ("reading", "forward", "backward", ALL_REDUCE, "update", "validation", "saving")
"""Timed phases of training. `reading` is the time spent waiting for batches; `all-reduce` is that of waiting for other
ranks and adding their gradients."""


NO_REWARDS = (
    "the sampled captions have rewards of 0, since they are unlike the references, so the gradient is 0; train the "
    "model of train.init_from longer, or on these references"
)


class Started(NamedTuple):
    """The start of training, after loading: from `step` to `total_steps`.

    `initialization` has the checkpoint of `train.init_from` and the numbers of shared, of all and of dropped words.
    """

    folder: Path
    config: Config
    corpus: Corpus
    parameters: int
    step: int
    total_steps: int
    steps_per_epoch: int
    initialization: dict[str, Any] | None


class Validated(NamedTuple):
    """A validation: the mean word loss, and the scores of generated captions if they are due.

    With several sources, these are the means of the sources, and `sources` has the loss and the scores of each.
    """

    step: int
    epoch: int
    loss: float
    scores: dict[str, float]
    best: bool
    sources: Mapping[str, Mapping[str, float]] = {}

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)


class Warned(NamedTuple):
    """A problem that does not stop training."""

    step: int
    problem: str


class Ended(NamedTuple):
    """The end of training, with what the history records about it."""

    folder: Path
    summary: dict[str, Any]


Event = Started | Step | Validated | Warned | Ended

Loop: TypeAlias = Callable[[Training, Batches, Callable[[], bool]], Generator[Event, None, dict[str, Any]]]
"""Trains, yields the events, and returns how the run ended; the function is called after every step."""


def train(
    config: Config,
    folder: str | os.PathLike[str],
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = SINGLE_PROCESS,
    loop: Loop | None = None,
) -> Iterator[Event]:
    """Train a new model in a new run folder, with `loop`, by default `train_steps`.

    `stop()` is called after every step; if it returns true, training saves a checkpoint and ends. After a `break` out
    of the iterator, `resume` continues from the last checkpoint. BLAS is limited to one thread in the whole process.
    All `ranks` make the same call, and their `stop()` return the same.

    Raises: UsageError, DataError, DivergenceError, CheckpointError, ConfigError.
    """
    training = new_training(config, RunFolder(Path(folder), ranks))
    begin(training, overwrite)
    yield from events(training, stop, loop or train_steps)


def new_training(config: Config, run: RunFolder) -> Training:
    """Build the data set and the model of a new run, without writing to its folder. Raises: as `train`."""
    restored = None if config.train.init_from is None else open_run(config.train.init_from)
    corpus = build_corpus(config, restored.vocab if restored else None)
    if config.train.objective == "self_critical":
        check_references(corpus.split("train"))
    learned, warnings = learned_corpus(config, corpus)
    model, initial, base = build_model(config, corpus), None, list[Base]()
    if restored:
        base = restored.meta.card.as_base(restored.path)
        model, initial = initialize_from(model, config, restored, corpus)
    state = TrainState.fresh(model, UPDATE_RULES[config.train.update_rule], config.train.ema_decay is not None)
    captions = config.data.captions
    described = "" if captions is None else one_line(f"{captions.name}, sha256={sha256_of(captions)}")
    return Training(
        *(config, run, corpus, learned, model, state),
        warnings=[*ignored_options(config), *warnings],
        initialization=initial,
        card=Card(base=base, captions=described),
    )


def begin(training: Training, overwrite: bool) -> None:
    """Create the folder of a new run, with its config and, if it has initial parameters, a record of these."""
    run, config = training.run, training.config
    if overwrite:
        check_inputs(run.path, config.data.root, config.data.captions, config.train.init_from)
    run.create(overwrite)
    run.write(run.config, dump(config))
    if training.initialization is not None:
        run.log(INIT_FROM, {"step": 0, **training.initialization})


def train_steps(
    training: Training, batches: Batches, stop: Callable[[], bool]
) -> Generator[Event, None, dict[str, Any]]:
    """Train until the last step, the end of the patience, or `stop()`: update, log, validate and save."""
    t, options, span = training, training.config.train, training.plan.span
    if t.out_of_patience():
        return {"ended": "early stopping"}
    for step in steps(t.model, batches, t.state, t.plan, t.watch, t.pool, t.ranks.all_reduce):
        t.words += step.words
        yield step
        epoch_ended, at_end = step.step % span.steps_per_epoch == 0, step.step == span.total_steps
        is_logged = epoch_ended or step.step % options.log_every == 0
        if is_logged or at_end:
            t.log("step", step.record(), at_end=not is_logged)
        validations = list(_validate(t, step, epoch_ended, at_end))
        if is_logged and step.metrics.get("reward", 1) < 1e-9:
            validations += warned(t, step, {"problem": NO_REWARDS}, at_end=False)
        should_stop = stop()
        if epoch_ended or at_end or should_stop or (options.save_every and step.step % options.save_every == 0):
            with t.watch("saving"):
                recheck_loss(t.model, batches, t.state, t.pool, t.ranks.all_reduce)
                t.save()
        # After saving, so that a `break` at these events leaves a run that can be resumed.
        yield from validations
        if should_stop:
            return {"ended": "stopped"}
        if t.out_of_patience() and not at_end:
            return {"ended": "early stopping"}
    return {"ended": "done" if t.words else "nothing left to do"}


def events(training: Training, stop: Callable[[], bool], loop: Loop = train_steps) -> Iterator[Event]:
    """Train with a loop over steps, and yield the events; `stop()` is called after every step."""
    t, config, run, span = training, training.config, training.run, training.plan.span
    began = time.perf_counter()
    counts = t.model.parameter_count, t.first, span.total_steps, span.steps_per_epoch
    yield Started(run.path, config, t.learned, *counts, initialization(run.history))
    yield from (Warned(t.first, warning) for warning in (*t.warnings, *long_warmup(config, span)))
    summary = t.summary if config.train.similarity_weight else None
    try:
        with build_batches(config, t.learned, t.model, span.total_steps, t.pool, t.ranks, summary) as batches:
            outcome = yield from loop(t, batches, stop)
    except DivergenceError as error:
        _end(t, {"ended": "diverged"}, began)
        note = f"{run.last} contains step {t.saved}, before the divergence" if t.saved else "no checkpoint yet"
        raise DivergenceError(f"{error}; {note}") from error
    yield Ended(run.path, _end(t, outcome, began))


def _validate(t: Training, step: Step, epoch_ended: bool, at_end: bool) -> Iterator[Validated | Warned]:
    """Validate when due. At the end of the run, also measure what is not due, for the history alone.

    So a run that is extended equals one that never ended there: only scheduled validations have a best checkpoint.
    """
    due = epoch_ended and t.validation.is_due(step)
    scored = due and t.validation.is_scored(step)
    scored_at_end = score_interval(t.config) is not None
    extra = at_end and not (scored if scored_at_end else due)
    if not due and not extra:
        return
    with t.watch("validation"):
        losses = t.validation.losses(t.eval_model)
    check_loss(t.model, step.step, fmean(losses.values()))
    validated = [record_validation(t, step, losses, scored, at_end=False)] if due else []
    validated += [record_validation(t, step, losses, scored_at_end, at_end=True)] if extra else []
    yield validated[-1]._replace(best=validated[0].best)
    with t.watch("validation"):
        loaded = t.loaded()  # on all ranks, which share its training summary
        collapse = t.ranks.on_rank_0(lambda: list(t.validation.collapse(loaded, step)))
    for kind, problem in collapse:
        yield from warned(t, step, {"collapse": kind, "problem": problem}, at_end=not due)


def warned(t: Training, step: Step, record: dict[str, str], at_end: bool) -> Iterator[Warned]:
    """Record a warning, and yield the first of its kind."""
    t.log("warning", {"step": step.step, "epoch": step.epoch, **record}, at_end)
    kind = record.get("collapse", record["problem"])
    if kind not in t.warned:
        t.warned.add(kind)
        yield Warned(step.step, record["problem"])


def record_validation(t: Training, step: Step, losses: dict[str, float], scored: bool, at_end: bool) -> Validated:
    """Measure the scores of a validation if they are due, record it, and note whether it is the best scheduled one.

    `losses` are those of `Validation.losses`.
    """
    by_source: dict[str, dict[str, float]] = {}
    if scored:
        with t.watch("validation"):
            by_source = t.validation.scores(t.loaded())
    loss = fmean(losses.values())
    scores = {name: fmean(part[name] for part in by_source.values()) for name in (NAMES if scored else ())}
    name, measured = str(t.config.validate.best_metric), {"loss": loss, **scores}
    better = not at_end and is_better(name, measured, t.best)
    if better:
        t.best = {"step": step.step, "epoch": step.epoch, "loss": loss, name: measured[name]}
    if name in measured and not at_end:
        t.since_best = 0 if better else t.since_best + 1
    sources = {source: {"loss": losses[source], **by_source.get(source, {})} for source in losses if source}
    event = Validated(step.step, step.epoch, loss, scores, better, sources)
    # before the checkpoint: a run may be resumed from it
    t.log("validation", {**event._asdict(), "perplexity": event.perplexity}, at_end)
    return event


def _end(t: Training, outcome: dict[str, Any], began: float) -> dict[str, Any]:
    """Return how the run ended, and record it unless that is the last record already."""
    seconds = time.perf_counter() - began
    profile = {part: t.watch.seconds[part] for part in PARTS if part != ALL_REDUCE or t.ranks.size > 1}
    profile["other"] = seconds - sum(profile.values())
    summary = {
        "step": t.state.step,
        **outcome,
        "best": t.best and {**t.best, "perplexity": perplexity(t.best["loss"])},
        "seconds": round(seconds, 3),
        "steps_this_time": t.state.step - t.first,
        "words_per_second": round(t.words / max(seconds, 1e-9)),
        "profile": {part: round(spent, 3) for part, spent in profile.items()},
        "threads": t.pool.size,
        "ranks": t.ranks.size,
        "parameters": t.model.parameter_count,
        "versions": versions(),
    }
    if not t.ranks.on_rank_0(lambda: bool(end_of(records(t.run.history)))):
        t.run.log(END, summary)
    return summary
