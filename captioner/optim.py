"""Optimization: update rules (SGD, momentum, RMSProp, Adam, AdamW), gradient clipping, EMA, schedules."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params
from captioner.parallel.thread_pool import SERIAL, ThreadPool

CHUNK = 1 << 16
"""Elements updated at a time: few enough to stay in the CPU cache over the passes of a rule."""


class Hyper(NamedTuple):
    """Hyper-parameters of all rules, with CS231n's names and the usual constants; each rule uses only some."""

    learning_rate: float
    momentum: float = 0.9
    decay_rate: float = 0.99
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


class UpdateRule(NamedTuple):
    """An update rule: the names of its slots, and `apply(w, dw, slots, hyper, t, scale)` for update t = 1, 2, ...

    The gradient is scale · dw, so that clipping needs no further pass over dw.
    `decoupled` rules use decoupled weight decay: w -= learning_rate · weight_decay · w.
    """

    slots: tuple[str, ...]
    apply: Callable[[Array, Array, tuple[Array, ...], Hyper, int, float], None]
    decoupled: bool = False


def sgd(w: Array, dw: Array, slots: tuple[Array, ...], hyper: Hyper, t: int, scale: float) -> None:
    """Stochastic gradient descent: w -= η dw."""
    w -= hyper.learning_rate * scale * dw


def sgd_momentum(w: Array, dw: Array, slots: tuple[Array, ...], hyper: Hyper, t: int, scale: float) -> None:
    """Classical momentum: v = μ v - η dw; w += v.

    Source: Sutskever et al. 2013.
    """
    (v,) = slots
    v *= hyper.momentum
    v -= hyper.learning_rate * scale * dw
    w += v


def rmsprop(w: Array, dw: Array, slots: tuple[Array, ...], hyper: Hyper, t: int, scale: float) -> None:
    """RMSProp, division by a running root mean square: s = ρ s + (1 - ρ) dw²; w -= η dw / (√s + ε).

    Source: Tieleman & Hinton 2012, lecture 6.5.
    """
    (s,) = slots
    s *= hyper.decay_rate
    scratch = dw * dw
    scratch *= (1 - hyper.decay_rate) * scale**2
    s += scratch
    np.sqrt(s, out=scratch)
    scratch += hyper.epsilon
    np.divide(dw, scratch, out=scratch)
    scratch *= hyper.learning_rate * scale
    w -= scratch


def adam(w: Array, dw: Array, slots: tuple[Array, ...], hyper: Hyper, t: int, scale: float) -> None:
    """Adam with bias correction.

    m = β₁ m + (1 - β₁) dw;   v = β₂ v + (1 - β₂) dw²;   w -= η m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + ε)

    Source: Kingma & Ba 2015, algorithm 1.
    """
    m, v = slots
    scratch = dw * ((1 - hyper.beta1) * scale)
    m *= hyper.beta1
    m += scratch
    np.multiply(dw, dw, out=scratch)
    scratch *= (1 - hyper.beta2) * scale**2
    v *= hyper.beta2
    v += scratch
    np.sqrt(v, out=scratch)
    # √(v / k) + ε = (√v + ε √k) / √k saves one pass.
    root = math.sqrt(1 - hyper.beta2**t)
    scratch += hyper.epsilon * root
    np.divide(m, scratch, out=scratch)
    scratch *= hyper.learning_rate * root / (1 - hyper.beta1**t)
    w -= scratch


UPDATE_RULES: dict[str, UpdateRule] = {
    "sgd": UpdateRule((), sgd),
    "sgd_momentum": UpdateRule(("velocity",), sgd_momentum),
    "rmsprop": UpdateRule(("cache",), rmsprop),
    "adam": UpdateRule(("m", "v"), adam),
    "adamw": UpdateRule(("m", "v"), adam, decoupled=True),
}
"""All update rules by config name."""

Slots = dict[str, Params]
"""Optimizer state: slot -> parameter -> array."""


def initial_slots(rule: UpdateRule, params: Params) -> Slots:
    """Return slots of zeros for all parameters."""
    return {slot: {name: np.zeros_like(w) for name, w in params.items()} for slot in rule.slots}


class Shard(NamedTuple):
    """The chunks of the parameters that one worker updates: numbers worker + k workers, k = 0, 1, ..."""

    worker: int = 0
    workers: int = 1


UNSHARDED = Shard()


def update(
    rule: UpdateRule,
    params: Params,
    grads: Params,
    slots: Slots,
    hyper: Hyper,
    t: int,
    scale: float = 1.0,
    shard: Shard = UNSHARDED,
) -> None:
    """Apply a rule in place to one shard of the parameters, with gradients multiplied by `scale`.

    Decoupled weight decay applies to matrices only, not to biases.

    Source: Loshchilov & Hutter 2019, "Decoupled Weight Decay Regularization".
    """
    decay = hyper.learning_rate * hyper.weight_decay if rule.decoupled else 0.0
    for name, (w, dw, *slot_chunks) in aligned_chunks([params, grads, *(slots[slot] for slot in rule.slots)], shard):
        if decay and params[name].ndim > 1:
            w *= 1 - decay
        rule.apply(w, dw, tuple(slot_chunks), hyper, t, scale)


def aligned_chunks(arrays: Sequence[Params], shard: Shard = UNSHARDED) -> Iterator[tuple[str, tuple[Array, ...]]]:
    """Yield the chunks of a shard as flat views, aligned over all dicts; non-contiguous arrays are not split."""
    chunks = ((name, chunk) for name in arrays[0] for chunk in _chunks(*(named[name] for named in arrays)))
    return itertools.islice(chunks, shard.worker, None, shard.workers)


def _chunks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    if not all(a.flags.c_contiguous for a in arrays):
        yield arrays
        return
    flat = [a.reshape(-1) for a in arrays]
    for first in range(0, flat[0].size, CHUNK):
        yield tuple(a[first : first + CHUNK] for a in flat)


def global_norm(grads: Params, pool: ThreadPool = SERIAL) -> float:
    """Return the global norm of the gradients: √ Σ g².

    The sums of the chunks are added in the order of the names, so the result is bit-identical for any order of the dict
    and any number of workers.
    """
    chunks = [chunk for _, (chunk,) in aligned_chunks([dict(sorted(grads.items()))])]
    squares = [0.0] * len(chunks)

    def work(worker: int) -> None:
        for number in range(worker, len(chunks), pool.size):
            squares[number] = float(np.vdot(chunks[number], chunks[number]))

    pool.map(work)
    return math.sqrt(sum(squares))


def clip_scale(norm: float, limit: float | None) -> float:
    """Return the factor that clips gradients to a maximum norm: min(1, limit / norm).

    Source: Pascanu et al. 2013, algorithm 1.
    """
    return 1.0 if limit is None or norm <= limit else limit / norm


EMA = "average"
"""Name of the optimizer slot that stores the EMA of the parameters."""


def update_ema(params: Params, ema: Params, decay: float, t: int | None, shard: Shard = UNSHARDED) -> None:
    """Update the EMA of the parameters in place, after update t = 1, 2, ..., or with t = None without warm-up.

    a += (1 - d) (w - a),   d = min(decay, t / (t + 9))   or   d = decay

    With warm-up, random initial parameters are soon forgotten. Without, those of a trained model keep the weight
    decay^t: an interpolation of the weights of both models, which forgets less of what the first one knows.

    Source: Polyak & Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage; Wortsman et al. 2022,
    Robust fine-tuning of zero-shot models.
    """
    rate = 1 - (decay if t is None else min(decay, t / (t + 9)))
    for _, (w, a) in aligned_chunks([params, ema], shard):
        a += rate * (w - a)


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
