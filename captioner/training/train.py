"""Train a model in a run folder, as an iterator of events; overfit a few captions, which checks model and optimizer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from captioner.captioning.load import is_training_split, open_run
from captioner.config.checks import score_interval
from captioner.config.options import Config
from captioner.config.yaml_io import dump
from captioner.data.batches import Batches
from captioner.data.corpus import Corpus
from captioner.decode.word_regression import can_name
from captioner.errors import DataError, DivergenceError
from captioner.files.checkpoint import LEARNED, Card, one_line
from captioner.model.captioning_model import mean_word_loss
from captioner.model.losses import perplexity
from captioner.optim import UPDATE_RULES
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.preparation.load_corpus import build_corpus
from captioner.training.build import (
    OBJECTIVES,
    build_batches,
    build_model,
    ignored_options,
    long_warmup,
)
from captioner.training.initialize import base_of, initialize_from, shaped_like
from captioner.training.learned_captions import learned_corpus
from captioner.training.run import Run
from captioner.training.run_folder import END, INIT_FROM, RunFolder, check_inputs, end_of, initialization, records
from captioner.training.solver import Step, TrainState, check_loss, steps
from captioner.training.validation import is_better

ALL_REDUCE = "all-reduce"
START = Step(0, 0, 0.0, 0, 0, 0.0, 0.0, {})
"""Before the first step."""
PARTS = ("reading", "forward", "backward", ALL_REDUCE, "update", "validation", "saving")
"""Timed phases of training. `reading` is the time spent waiting for batches; `all-reduce` is that of waiting for other
ranks and adding their gradients."""


NO_REWARDS = (
    "the sampled captions have rewards of 0, since they are unlike the references, so the gradient is 0; train the "
    "model of train.init_from longer, or on these references"
)
SHARED_IMAGES = (
    "train.init_from: images that the base model was trained on too count twice, and their expected shares contain "
    "their own references; to add images to a run, start from what that run started from"
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
    """A validation: the mean word loss, and the scores of generated captions if they are due."""

    step: int
    epoch: int
    loss: float
    scores: dict[str, float]
    best: bool

    @property
    def perplexity(self) -> float:
        return perplexity(self.loss)


class Estimated(NamedTuple):
    """The estimated time of training in seconds."""

    seconds: float


class Warned(NamedTuple):
    """A problem that does not stop training."""

    step: int
    problem: str


class Ended(NamedTuple):
    """The end of training, with what the history records about it."""

    folder: Path
    summary: dict[str, Any]


Event = Started | Step | Validated | Estimated | Warned | Ended

Loop: TypeAlias = Callable[[Run, Batches, Callable[[], bool]], Generator[Event, None, dict[str, Any]]]
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
    run = new_run(config, RunFolder(Path(folder), ranks))
    begin(run, overwrite)
    yield from events(run, stop, loop or train_steps)


def new_run(config: Config, folder: RunFolder) -> Run:
    """Build the data set and the model of a new run, without writing to its folder. Raises: as `train`."""
    base = base_of(config)
    config = shaped_like(config, base.config) if base else config
    corpus = build_corpus(config, base.vocab if base else None)
    objective, few = OBJECTIVES[config.train.objective], len(corpus.split("train").captioned_images)
    if few < objective.min_images:
        raise DataError(
            f"train: expected at least {objective.min_images} images for train.objective {config.train.objective}, got "
            f"{few}; add images"
        )
    learned, warnings = learned_corpus(config, corpus)
    model, initial, summary, origins = build_model(config, corpus), None, None, list[str]()
    if config.data.captions is not None:
        origins.append(f"{LEARNED}{config.data.captions.name}")
    if base:
        origins.append(base.meta.card.as_origin(base.path))
        model, initial, names = initialize_from(model, config, base, corpus)
        summary = base.summary and base.summary.in_vocabulary(corpus.vocab, names & can_name(corpus.vocab))
    state = TrainState.fresh(model, UPDATE_RULES[config.train.update_rule], config.train.ema_decay is not None)
    run = Run(
        *(config, folder, corpus, learned, model, state),
        warnings=[*ignored_options(config), *warnings],
        initialization=initial,
        base=base,
        base_summary=summary,
        card=Card(made_from=one_line("; ".join(filter(None, origins)))),
    )
    if base and base.saved.summary:
        if is_training_split(base, corpus):
            run.summary_arrays = base.saved.summary  # of the same images and words
        elif isinstance(config.train.init_from, Path):
            run.warnings.append(SHARED_IMAGES)
    return run


def begin(run: Run, overwrite: bool) -> None:
    """Create the folder of a new run, with its config and, if it has initial parameters, a record of these."""
    folder, config = run.folder, run.config
    if overwrite:
        start = config.train.init_from
        check_inputs(folder.path, config.data.root, config.data.captions, None if isinstance(start, str) else start)
    folder.create(overwrite)
    folder.write(folder.config, dump(config))
    if run.initialization is not None and run.base is not None:
        run.initialization["scores"] = run.validation.scores(run.base)
        folder.log(INIT_FROM, {"step": 0, **run.initialization})


def train_steps(run: Run, batches: Batches, stop: Callable[[], bool]) -> Generator[Event, None, dict[str, Any]]:
    """Train until the last step, the end of the patience, or `stop()`: update, log, validate and save."""
    options, span = run.config.train, run.plan.span
    if run.initialization is not None and not run.state.step:
        yield from _start(run, batches)
    if run.out_of_patience():
        return {"ended": "early stopping"}
    for step in steps(run.model, batches, run.state, run.plan, run.watch, run.pool, run.ranks.all_reduce):
        run.words += step.words
        yield step
        epoch_ended, at_end = step.step % span.steps_per_epoch == 0, step.step == span.total_steps
        is_logged = epoch_ended or step.step % options.log_every == 0
        if is_logged or at_end:
            run.log("step", step.record(), at_end=not is_logged)
        validations = list(_validate(run, step, epoch_ended, at_end))
        if is_logged and step.metrics.get("reward", 1) < 1e-9:
            validations += warned(run, step, {"problem": NO_REWARDS}, at_end=False)
        should_stop = stop()
        if epoch_ended or at_end or should_stop or (options.save_every and step.step % options.save_every == 0):
            with run.watch("saving"):
                last = [batches.batch(step.step - 1)]  # after its update: do not save a model that has diverged
                check_loss(run.model, step.step, mean_word_loss(run.model, last, run.pool, run.ranks.all_reduce))
                run.save()
        # After saving, so that a `break` at these events leaves a run that can be resumed.
        yield from validations
        if should_stop:
            return {"ended": "stopped"}
        if run.out_of_patience() and not at_end:
            return {"ended": "early stopping"}
    return {"ended": "done" if run.words else "nothing left to do"}


def events(run: Run, stop: Callable[[], bool], loop: Loop = train_steps) -> Iterator[Event]:
    """Train with a loop over steps, and yield the events; `stop()` is called after every step."""
    config, folder, span = run.config, run.folder, run.plan.span
    began = time.perf_counter()
    counts = run.model.parameter_count, run.first, span.total_steps, span.steps_per_epoch
    yield Started(folder.path, config, run.learned, *counts, initialization(folder.history))
    yield from (Warned(run.first, warning) for warning in (*run.warnings, *long_warmup(config, span)))
    summary = run.summary if config.train.similarity_weight else None
    try:
        parts = config, run.learned, run.model, summary, run.pool, run.ranks
        with build_batches(span.total_steps, *parts) as batches:
            outcome = yield from loop(run, batches, stop)
    except DivergenceError as error:
        _end(run, {"ended": "diverged"}, began)
        saved = f"{folder.last} contains step {run.saved}, before the divergence"
        raise DivergenceError(f"{error}; {saved if run.saved is not None else 'no checkpoint yet'}") from error
    yield Ended(folder.path, _end(run, outcome, began))


def _start(run: Run, batches: Batches) -> Iterator[Validated | Estimated]:
    """Validate and save a model with the parameters of `train.init_from`, and estimate the time of training.

    So best.h5 is never worse on the validation images than the model that training started from.
    """
    _ = run.summary_arrays  # takes seconds, once
    began = time.perf_counter()
    with run.watch("validation"):
        loss = run.validation.loss(run.eval_model)
    validated = record_validation(run, START, loss, scored=score_interval(run.config) is not None, at_end=False)
    with run.watch("saving"):
        run.save()
    per_epoch, span = time.perf_counter() - began, run.plan.span
    for _ in range(2):  # the first pass allocates memory
        began = time.perf_counter()
        mean_word_loss(run.model, [batches.batch(0)], run.pool, run.ranks.all_reduce)
    per_step = 3 * (time.perf_counter() - began)  # a backward pass takes twice as long
    yield validated
    yield Estimated(span.total_steps * (per_step + per_epoch / span.steps_per_epoch))


def _validate(run: Run, step: Step, epoch_ended: bool, at_end: bool) -> Iterator[Validated | Warned]:
    """Validate when due. At the end of the run, also measure what is not due, for the history alone.

    So a run that is extended equals one that never ended there: only scheduled validations have a best checkpoint.
    """
    due = epoch_ended and run.validation.is_due(step)
    scored = due and run.validation.is_scored(step)
    scored_at_end = score_interval(run.config) is not None
    extra = at_end and not (scored if scored_at_end else due)
    if not due and not extra:
        return
    with run.watch("validation"):
        loss = run.validation.loss(run.eval_model)
    check_loss(run.model, step.step, loss)
    validated = [record_validation(run, step, loss, scored, at_end=False)] if due else []
    validated += [record_validation(run, step, loss, scored_at_end, at_end=True)] if extra else []
    yield validated[-1]._replace(best=validated[0].best)
    with run.watch("validation"):
        loaded = run.loaded()  # on all ranks, which share its training summary
        is_warm = step.step > run.plan.span.warmup_steps
        collapse = run.ranks.on_rank_0(lambda: list(run.validation.collapse(loaded, step)) if is_warm else [])
    for kind, problem in collapse:
        yield from warned(run, step, {"collapse": kind, "problem": problem}, at_end=not due)


def warned(run: Run, step: Step, record: dict[str, str], at_end: bool) -> Iterator[Warned]:
    """Record a warning, and yield the first of its kind."""
    run.log("warning", {"step": step.step, "epoch": step.epoch, **record}, at_end)
    kind = record.get("collapse", record["problem"])
    if kind not in run.warned:
        run.warned.add(kind)
        yield Warned(step.step, record["problem"])


def record_validation(run: Run, step: Step, loss: float, scored: bool, at_end: bool) -> Validated:
    """Measure the scores of a validation if they are due, record it, and note whether it is the best scheduled one."""
    scores: dict[str, float] = {}
    if scored:
        with run.watch("validation"):
            scores = run.validation.scores(run.loaded())
    name, measured = str(run.config.validate.best_metric), {"loss": loss, **scores}
    better = not at_end and is_better(name, measured, run.best)
    if better:
        run.best = {"step": step.step, "epoch": step.epoch, "loss": loss, name: measured[name]}
    if name in measured and not at_end:
        run.since_best = 0 if better else run.since_best + 1
    if not at_end:
        run.scores = {step.step: scores}
    event = Validated(step.step, step.epoch, loss, scores, better)
    # before the checkpoint: a run may be resumed from it
    run.log("validation", {**event._asdict(), "perplexity": event.perplexity}, at_end)
    return event


def _compared(run: Run, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return the model that training started from, and the scores of it and of the best one on validation images.

    `perplexity` is that at the start, with the new words. A run that did not start from a model, or has not ended, has
    none of them.
    """
    history = run.ranks.on_rank_0(lambda: [record for record in records(run.folder.history) if "scores" in record])
    start = next((record["scores"] for record in history if record["kind"] == INIT_FROM), None)
    validated = {record["step"]: record["scores"] for record in history if record["kind"] != INIT_FROM}
    at_start = next((record["perplexity"] for record in history if record["kind"] != INIT_FROM), None)
    if start is None or run.best is None or outcome["ended"] in ("stopped", "diverged"):
        return {}
    step = run.best["step"]
    if not validated.get(step):
        loaded = run.loaded() if step == run.state.step else open_run(run.folder.best)
        validated[step] = run.validation.scores(loaded)
    base, images = str(run.config.train.init_from), run.validation.images
    compared = {"base": base, "images": images, "perplexity": at_start, "start": start, "best": validated[step]}
    return {"compared": compared}


def _end(run: Run, outcome: dict[str, Any], began: float) -> dict[str, Any]:
    """Return how the run ended, and record it unless that is the last record already."""
    seconds = time.perf_counter() - began
    profile = {part: run.watch.seconds[part] for part in PARTS if part != ALL_REDUCE or run.ranks.size > 1}
    profile["other"] = seconds - sum(profile.values())
    summary = {
        "step": run.state.step,
        **outcome,
        "best": run.best and {**run.best, "perplexity": perplexity(run.best["loss"])},
        "seconds": round(seconds, 3),
        "steps_this_time": run.state.step - run.first,
        "words_per_second": round(run.words / max(seconds, 1e-9)),
        "profile": {part: round(spent, 3) for part, spent in profile.items()},
        "ranks": run.ranks.size,
        "parameters": run.model.parameter_count,
        **_compared(run, outcome),
    }
    if not run.ranks.on_rank_0(lambda: bool(end_of(records(run.folder.history)))):
        run.folder.log(END, summary)
    return summary
