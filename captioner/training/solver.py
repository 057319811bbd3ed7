"""The training loop, as an iterator of step records.

A step depends only on `TrainState` and `Plan`: batches and dropout noise are functions of (seed, step). To resume,
start from a saved state; to stop, leave the loop.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Batch, Params
from captioner.data.batches import Batches
from captioner.errors import DivergenceError
from captioner.model.captioning_model import CaptioningModel
from captioner.model.losses import Losses, perplexity
from captioner.optim import (
    EMA,
    Hyper,
    Schedule,
    Shard,
    Slots,
    Span,
    UpdateRule,
    clip_scale,
    global_norm,
    initial_slots,
    learning_rate_factor,
    update,
    update_ema,
)
from captioner.parallel.machine import keep_freed_memory
from captioner.parallel.ranks import Reduce, identity
from captioner.parallel.thread_pool import SERIAL, ThreadPool

REMEDY = "try a smaller train.learning_rate, or train.clip_norm 1"
LOSSES = "losses"
"""The name of the losses of a batch among its gradients, while both are summed over ranks."""

DIVERGENCE_FACTOR = 10
"""A loss above this multiple of log V per word, the loss of equal probabilities, is divergence: it may stay finite."""


@dataclass
class TrainState:
    """The mutable state of training: parameters, optimizer slots and the number of steps done.

    `params` are the model's arrays, and every step overwrites them. The slot `EMA` holds the exponential moving
    average of the parameters, if the plan has an EMA decay.
    """

    params: Params
    slots: Slots
    step: int = 0

    @classmethod
    def fresh(cls, model: CaptioningModel, rule: UpdateRule, has_ema: bool = False) -> TrainState:
        slots = initial_slots(rule, model.params)
        if has_ema:
            slots[EMA] = {name: w.copy() for name, w in model.params.items()}
        return cls(model.params, slots)


class Plan(NamedTuple):
    """The constants of training: update rule, hyper-parameters, schedule, clipping, seed, EMA decay and its warm-up."""

    rule: UpdateRule
    hyper: Hyper
    schedule: Schedule
    span: Span
    clip_norm: float | None = None
    seed: int = 0
    ema_decay: float | None = None
    ema_warmup: bool = True


class Step(NamedTuple):
    """The record of one update: step (1, 2, ...), epoch, and loss and gradient norm before the update.

    `loss` is the objective, summed over words and divided by captions, as in CS231n. `metrics` are those of the batch,
    preceded by mean word loss and perplexity if the batch has no weights.
    """

    step: int
    epoch: int
    loss: float
    captions: int
    words: int
    grad_norm: float
    learning_rate: float
    metrics: Mapping[str, float]

    def record(self) -> dict[str, Any]:
        """Return all fields as one flat dict, with the metrics merged in."""
        record = self._asdict()
        del record["metrics"]
        return {**record, **self.metrics}


class Stopwatch:
    """Wall-clock seconds spent in `with watch("part"):`, added up in `seconds` by part; parts must not be nested."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += perf_counter() - start


def steps(
    model: CaptioningModel,
    batches: Batches,
    state: TrainState,
    plan: Plan,
    watch: Stopwatch | None = None,
    pool: ThreadPool = SERIAL,
    reduce: Reduce = identity,
) -> Iterator[Step]:
    """Train until `plan.span.total_steps`, yielding a record after every update.

    `watch` measures reading, forward, backward, all-reduce and update. The workers of `pool` each process a shard of
    the batch and of the update. If several ranks share the batches, `reduce` sums their gradients; each rank then makes
    the same update.

    Raises: DivergenceError before the update, with the state still finite, when a loss or gradient is not
    finite or the loss is too large; and after the update, when a parameter is not finite.
    """
    keep_freed_memory()
    watch = watch or Stopwatch()
    limit = _divergence_limit(model)
    while state.step < plan.span.total_steps:
        # Overflow is reported as a DivergenceError that names the array, not as a NumPy warning.
        with np.errstate(over="ignore", invalid="ignore"):
            with watch("reading"):
                batch = batches.batch(state.step)
            part, grads = _gradients(model, batch, np.random.default_rng((plan.seed, 1, state.step)), watch, pool)
            with watch("all-reduce"):
                grads = reduce({**grads, LOSSES: np.array(part)})
                losses = Losses(*grads.pop(LOSSES).tolist())
            with watch("update"):
                norm = global_norm(grads, pool)
                if not (losses.trained <= limit and math.isfinite(losses.loss) and math.isfinite(norm)):
                    raise DivergenceError(_diagnosis(state.step + 1, losses.trained, limit, norm, grads))
                rate = plan.hyper.learning_rate * learning_rate_factor(plan.schedule, state.step, plan.span)
                _update(state, grads, plan, rate, clip_scale(norm, plan.clip_norm), pool)
                check_finite(state, pool)
        metrics = {} if batch.weights is not None else {"word_loss": losses.nll, "perplexity": perplexity(losses.nll)}
        yield Step(
            step=state.step,
            epoch=(state.step - 1) // plan.span.steps_per_epoch + 1,
            loss=losses.loss,
            captions=batch.size,
            words=int(losses.words),
            grad_norm=norm,
            learning_rate=rate,
            metrics={**metrics, **batch.metrics},
        )


def _update(state: TrainState, grads: Params, plan: Plan, rate: float, scale: float, pool: ThreadPool) -> None:
    """Update the parameters, the slots and the exponential moving average."""
    hyper = plan.hyper._replace(learning_rate=rate)
    update_arguments = plan.rule, state.params, grads, state.slots, hyper, state.step + 1, scale
    pool.map(lambda worker: update(*update_arguments, Shard(worker, pool.size)))
    state.step += 1
    if (decay := plan.ema_decay) is not None:
        ema_arguments = state.params, state.slots[EMA], decay, state.step if plan.ema_warmup else None
        pool.map(lambda worker: update_ema(*ema_arguments, Shard(worker, pool.size)))


def _gradients(
    model: CaptioningModel, batch: Batch, rng: np.random.Generator, watch: Stopwatch, pool: ThreadPool
) -> tuple[Losses, Params]:
    """Compute the losses and gradients of a batch, or of the part of this rank, which may be empty."""
    if not len(batch.captions):
        return Losses(0.0, 0, 0.0, 0.0), {name: np.zeros_like(w) for name, w in model.params.items()}
    with watch("forward"):
        losses, cache = model.forward(batch, rng, pool)
    with watch("backward"):
        return losses, model.backward(cache, pool)


def _divergence_limit(model: CaptioningModel) -> float:
    return DIVERGENCE_FACTOR * math.log(model.sizes.vocab)


def check_finite(state: TrainState, pool: ThreadPool = SERIAL) -> None:
    """Raises: DivergenceError that names the parameters whose global norm is not finite."""
    if not math.isfinite(global_norm(state.params, pool)):
        raise DivergenceError(
            f"step {state.step}: training diverged: not finite after the update: "
            f"parameters {_not_finite(state.params) or '(global norm)'}; {REMEDY}"
        )


def _diagnosis(step: int, loss: float, limit: float, norm: float, grads: Params) -> str:
    gradients = _not_finite(grads)
    return (
        f"step {step}: training diverged: expected a loss of at most {limit:.1f} per word, got {loss:g}, "
        f"with gradients of norm {norm:g}{f', not finite: gradients {gradients}' if gradients else ''}; {REMEDY}"
    )


def _not_finite(arrays: Params) -> str:
    return ", ".join(name for name, array in arrays.items() if not math.isfinite(global_norm({name: array})))


def check_loss(model: CaptioningModel, step: int, word_loss: float) -> None:
    """Raises: DivergenceError when a mean word loss is not finite or too large."""
    limit = _divergence_limit(model)
    if not word_loss <= limit:
        raise DivergenceError(
            f"step {step}: training diverged: expected a loss of at most {limit:.1f} per word after the update, "
            f"got {word_loss:g}; {REMEDY}"
        )
