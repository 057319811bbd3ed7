"""Learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Span(NamedTuple):
    """Length of training in steps, and the options of the schedules."""

    total_steps: int
    steps_per_epoch: int
    lr_decay: float = 1.0
    warmup_steps: int = 0


def constant(step: int, span: Span) -> float:
    """Constant learning rate: a factor of 1."""
    return 1.0


def exponential(step: int, span: Span) -> float:
    """Exponential decay per epoch, as in CS231n's solver: lr_decay ^ epoch."""
    return span.lr_decay ** (step // span.steps_per_epoch)


def cosine(step: int, span: Span) -> float:
    """Cosine decay from 1 after the warm-up to 0 at the end of training: ½ (1 + cos π x).

    Source: Loshchilov & Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts".
    """
    x = (step - span.warmup_steps) / max(1, span.total_steps - span.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, x)))


Schedule = Callable[[int, Span], float]

SCHEDULES: dict[str, Schedule] = {"constant": constant, "exponential": exponential, "cosine": cosine}
"""All schedules by config name: (step, span) -> factor of the learning rate, for step 0, 1, ..."""


def learning_rate_factor(schedule: Schedule, step: int, span: Span) -> float:
    """Return the factor of a schedule after linear warm-up: (step + 1) / warmup_steps during the warm-up."""
    if step < span.warmup_steps:
        return (step + 1) / span.warmup_steps
    return schedule(step, span)
