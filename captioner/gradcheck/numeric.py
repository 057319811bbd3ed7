"""Analytic gradients against numeric ones, with a report.

A random direction first: two evaluations of the function check a whole array at once. Where that fails, or when
asked, every element by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params

STEP = 1e-5
TOLERANCE = 1e-6


class Case(NamedTuple):
    """A scalar function of named float64 arrays, and the gradients that are claimed for it.

    `loss` reads the arrays anew at each call: the check changes them in place, and puts them back.
    """

    name: str
    arrays: Params
    loss: Callable[[], float]
    grads: Callable[[], Params]


class Row(NamedTuple):
    """The verdict on one gradient.

    `check` is "direction", "elements", or "shape" where the gradient is missing, misshapen or not finite.
    """

    case: str
    array: str
    check: str
    error: float
    passed: bool


def numeric_gradient(f: Callable[[], Array | float], x: Array, step: float = STEP, dout: Array | float = 1.0) -> Array:
    """Central differences element by element: Σ (f(x + h e_i) - f(x - h e_i)) dout / 2h.

    The difference is taken before the sum: what does not depend on x_i then costs no digits.

    Shapes: x (any) float64, f and dout alike -> like x.
    """
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        kept = x[i]
        x[i] = kept + step
        above = np.array(f())
        x[i] = kept - step
        grad[i] = np.sum((above - f()) * dout) / (2 * step)
        x[i] = kept
    return grad


def directional_derivative(loss: Callable[[], float], x: Array, direction: Array, step: float = STEP) -> float:
    """Central difference along a direction d: (loss(x + h d) - loss(x - h d)) / 2h, which should be <grad, d>.

    Shapes: x, direction (any) float64.
    Source: the check of HIPS/autograd, `check_grads`.
    """
    kept = x.copy()
    x += step * direction
    above = loss()
    x[...] = kept - step * direction
    below = loss()
    x[...] = kept
    return (above - below) / (2 * step)


def relative_error(a: Array | float, b: Array | float) -> float:
    """The largest difference, against the largest size: max |a - b| / max(|a|, |b|); 0 when both are 0."""
    size = max(float(np.max(np.abs(a), initial=0)), float(np.max(np.abs(b), initial=0)))
    return float(np.max(np.abs(np.subtract(a, b)), initial=0)) / size if size else 0.0


def check(case: Case, rng: np.random.Generator, full: bool = False, tolerance: float = TOLERANCE) -> Iterator[Row]:
    """Compare every gradient of a case with numeric ones.

    A gradient passes on its direction alone unless `full`; when its direction fails, its elements decide: a
    direction can be nearly orthogonal to a right gradient.
    """
    grads = case.grads()
    for name, x in case.arrays.items():
        claimed = grads.get(name)
        if claimed is None or claimed.shape != x.shape or not np.isfinite(claimed).all():
            yield Row(case.name, name, "shape", np.inf, False)
            continue
        direction = rng.standard_normal(x.shape)
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
        numeric = directional_derivative(case.loss, x, direction)
        error = relative_error(numeric, float(np.vdot(claimed, direction)))
        if error <= tolerance and not full:
            yield Row(case.name, name, "direction", error, True)
        else:
            error = relative_error(numeric_gradient(case.loss, x), claimed)
            yield Row(case.name, name, "elements", error, error <= tolerance)
