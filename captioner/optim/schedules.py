"""Learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Span(NamedTuple):
    """How long training lasts, for the schedules."""

    total_steps: int
    steps_per_epoch: int
    lr_decay: float = 1.0
    warmup_steps: int = 0


def constant(step: int, span: Span) -> float:
    """The same learning rate throughout: 1."""
    return 1.0


def exponential(step: int, span: Span) -> float:
    """Times lr_decay after every epoch: lr_decay ^ epoch, as CS231n's solver does."""
    return span.lr_decay ** (step // span.steps_per_epoch)


def cosine(step: int, span: Span) -> float:
    """Half a cosine from 1 at the end of the warm-up to 0 at the end of training: ½ (1 + cos π x).

    Source: Loshchilov & Hutter 2017.
    """
    x = (step - span.warmup_steps) / max(1, span.total_steps - span.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, x)))


Schedule = Callable[[int, Span], float]


SCHEDULES: dict[str, Schedule] = {"constant": constant, "exponential": exponential, "cosine": cosine}
"""Every schedule by its name in the config: the factor on the learning rate at step 0, 1, ..."""


def learning_rate_factor(schedule: Schedule, step: int, span: Span) -> float:
    """A schedule with linear warm-up: (step + 1) / warmup_steps until it reaches 1."""
    if step < span.warmup_steps:
        return (step + 1) / span.warmup_steps
    return schedule(step, span)
