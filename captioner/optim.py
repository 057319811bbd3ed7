"""Update rules, learning-rate schedules and gradient clipping.

A rule is a function of a weight, its gradient, the rule's slots (running state) and the hyper-parameters, which
never change. Everything is in place: training overwrites its parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params

CHUNK = 1 << 16
"""Numbers a rule sees at a time: few enough that its several passes find them in the cache."""


class Hyper(NamedTuple):
    """The hyper-parameters of every rule, with CS231n's names; a rule reads those it needs."""

    learning_rate: float
    momentum: float = 0.9
    decay_rate: float = 0.99
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0


class Rule(NamedTuple):
    """An update rule: the names of its slots, and `apply(w, dw, slots, hyper, t, scale)` for update t = 1, 2, ...

    The gradient is scale · dw; whoever clips need not make another pass over it.
    `decoupled` rules shrink weights by learning_rate * weight_decay beside the gradient step.
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
    """Division by a running root mean square: s = ρ s + (1 - ρ) dw²; w -= η dw / (√s + ε).

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
    # √(v / k) + ε is (√v + ε √k) / √k: one pass fewer.
    root = math.sqrt(1 - hyper.beta2**t)
    scratch += hyper.epsilon * root
    np.divide(m, scratch, out=scratch)
    scratch *= hyper.learning_rate * root / (1 - hyper.beta1**t)
    w -= scratch


RULES: dict[str, Rule] = {
    "sgd": Rule((), sgd),
    "sgd_momentum": Rule(("velocity",), sgd_momentum),
    "rmsprop": Rule(("cache",), rmsprop),
    "adam": Rule(("m", "v"), adam),
    "adamw": Rule(("m", "v"), adam, decoupled=True),
}
"""Every update rule by its name in the config."""

Slots = dict[str, Params]
"""The running state of a rule: slot -> parameter -> array."""


def initial_slots(rule: Rule, params: Params) -> Slots:
    """Slots of zeros for every parameter."""
    return {slot: {name: np.zeros_like(w) for name, w in params.items()} for slot in rule.slots}


class Share(NamedTuple):
    """Every `of`-th stretch of the parameters, from the `member`-th on: what one of a team takes upon itself."""

    member: int = 0
    of: int = 1


WHOLE = Share()


def update(
    rule: Rule,
    params: Params,
    grads: Params,
    slots: Slots,
    hyper: Hyper,
    t: int,
    scale: float = 1.0,
    share: Share = WHOLE,
) -> None:
    """Apply a rule to the parameters of a share, in place, with the gradients times `scale`.

    Weight decay (decoupled, Loshchilov & Hutter 2019) shrinks matrices only; biases are left alone.
    """
    decay = hyper.learning_rate * hyper.weight_decay if rule.decoupled else 0.0
    for name, (w, dw, *parts) in _stretches([params, grads, *(slots[slot] for slot in rule.slots)], share):
        if decay and params[name].ndim > 1:
            w *= 1 - decay
        rule.apply(w, dw, tuple(parts), hyper, t, scale)


AVERAGE = "average"
"""The slot where a running mean of the parameters stands."""


def move_average(params: Params, mean: Params, decay: float, t: int, share: Share = WHOLE) -> None:
    """Move the running mean of the parameters after update t, in place.

    a += (1 - d) (w - a),   d = min(decay, t / (t + 9))

    The mean of the first steps is short, so that it soon forgets the start.

    Source: Polyak & Juditsky 1992; the warm-up is that of TensorFlow's ExponentialMovingAverage.
    """
    rate = 1 - min(decay, t / (t + 9))
    for _, (w, a) in _stretches([params, mean], share):
        a += rate * (w - a)


def global_norm(grads: Params) -> float:
    """The Euclidean norm of all gradients together: √ Σ g².

    The sum is in the order of the names: the order of the dict does not change its last bit.
    """
    return math.sqrt(sum(float(np.vdot(grads[name], grads[name])) for name in sorted(grads)))


def _stretches(arrays: Sequence[Params], share: Share) -> Iterator[tuple[str, tuple[Array, ...]]]:
    """The same stretch of each parameter in turn, as flat views; whole arrays where there is no flat view of one."""
    parts = ((name, part) for name in arrays[0] for part in _chunks(*(named[name] for named in arrays)))
    return itertools.islice(parts, share.member, None, share.of)


def _chunks(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    if not all(a.flags.c_contiguous for a in arrays):
        yield arrays
        return
    flat = [a.reshape(-1) for a in arrays]
    for first in range(0, flat[0].size, CHUNK):
        yield tuple(a[first : first + CHUNK] for a in flat)


def clip_scale(norm: float, limit: float | None) -> float:
    """The factor that brings gradients of a norm down to a limit: min(1, limit / norm).

    Source: Pascanu et al. 2013, algorithm 1.
    """
    return 1.0 if limit is None or norm <= limit else limit / norm


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
