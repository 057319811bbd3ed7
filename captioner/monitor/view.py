"""What a page shows of a run at one moment, in words."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from captioner.config.options import Config
from captioner.monitor.durations import clock, duration
from captioner.monitor.pace import Pace
from captioner.monitor.run_state import Kind, RunState
from captioner.optim.schedules import Span
from captioner.report.history import History, points
from captioner.training.build import build_span


class Progress(NamedTuple):
    """The progress of a training run; `total` steps and `epochs` are None while they are unknown."""

    step: int
    total: int | None
    epoch: int
    epochs: int | None


def find_progress(history: History, span: Span | None, config: Config | None = None) -> Progress:
    """Return the progress of a run; `span` is the length of its training, None if it is unknown.

    Without it, the config has the number of epochs, unless the number of steps is limited too.
    """
    known = None if config is None or config.train.max_steps else config.train.epochs
    epochs = known if span is None else -(-span.total_steps // span.steps_per_epoch)
    return Progress(history.last_step, None if span is None else span.total_steps, history.last_epoch, epochs)


def span_of(config: Config, history: History) -> Span | None:
    """Return the length of a training run, or None in its first epoch: the last step of an epoch is always recorded."""
    for (step, last), (_, first) in pairwise(points(history.steps, "epoch")):
        if first > last > 0:
            return build_span(config, int(step // last))
    return None


class Fact(NamedTuple):
    """A figure of a run, with a detail in small print."""

    name: str
    value: str
    detail: str = ""


def facts(state: RunState, progress: Progress, history: History, pace: Pace, now: float) -> Iterator[Fact]:
    """Yield the figures of a run."""
    yield Fact("Step", f"{progress.step:,}", _of(progress.total))
    yield Fact("Epoch", f"{progress.epoch:,}", _of(progress.epochs))
    if state.kind is Kind.RUNNING:
        left = None if progress.total is None else pace.remaining(progress.total, now)
        yield (
            Fact("Time left", "…", "measured from the next records on")
            if left is None
            else Fact("Time left", duration(left), f"until {clock(now + left, now)}")
        )
    for _, speed in points(history.speeds[-1:], "words_per_second"):
        yield Fact("Speed", f"{speed:,.0f}", "words per second")
    for step, value in points(history.steps[-1:], "perplexity"):
        yield Fact("Training perplexity", f"{value:.2f}", f"step {step:,.0f}")
    best = [one for one in history.validations if one.get("best")][-1:]
    for _, value in points(best, "perplexity"):
        cider = "".join(f"; CIDEr-D {100 * score:.1f}" for _, score in points(best, "scores", "cider_d"))
        yield Fact("Best validation", f"{value:.2f}", f"perplexity, epoch {best[0].get('epoch')}{cider}")
    if state.changed:
        yield Fact("Last record", clock(state.changed, now), f"{duration(now - state.changed)} ago")


def _of(total: int | None) -> str:
    return "" if total is None else f"of {total:,}"
