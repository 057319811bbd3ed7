"""Compare analytic gradients with numeric ones.

The derivative along a random direction checks a whole array with two evaluations of the function. If it disagrees, or
if a full check is requested, every element is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params

STEP = 1e-5
TOLERANCE = 1e-6
"""The maximum relative error of gradients."""
PRECISION = 1e-9
"""The maximum relative error of values: float64 has about 1e-15, and a part that is computed in float32 1e-8."""
SMALLEST = 1e-2
"""If functions are checked, gradients below it are compared absolutely: that of the key bias is 0 up to rounding."""


class Case(NamedTuple):
    """A scalar function of named float64 arrays, and its analytic gradients.

    `loss` must read the arrays at each call: the check changes them in place, and restores them. `parts` names the
    blocks of the last axis of some arrays with a letter each, such as the gates of an LSTM's b by "ifog".
    """

    name: str
    arrays: Params
    loss: Callable[[], float]
    grads: Callable[[], Params]
    parts: Mapping[str, str] = MappingProxyType({})


class CheckResult(NamedTuple):
    """The result for one gradient.

    `check` is "direction", "elements", or "invalid" if the gradient is missing, has the wrong shape or is not finite.
    `parts` has the errors of the parts of the array, if all elements were checked and some are wrong.
    """

    case: str
    array: str
    check: str
    error: float
    passed: bool
    parts: tuple[tuple[str, float], ...] = ()

    def by_part(self) -> str:
        """Return the errors of the parts as text in parentheses, or "" if there are none."""
        return f" ({', '.join(f'{name} {error:.1e}' for name, error in self.parts)})" if self.parts else ""


def numeric_gradient(f: Callable[[], Array | float], x: Array, step: float = STEP, dout: Array | float = 1.0) -> Array:
    """Compute central differences element by element: Σ (f(x + h e_i) - f(x - h e_i)) dout / 2h.

    Subtracting before summing avoids cancellation: outputs that do not depend on x_i contribute exactly 0.

    Shapes: x (any) float64, f and dout alike -> like x.
    """
    grad = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        saved = x[i]
        x[i] = saved + step
        above = np.array(f())
        x[i] = saved - step
        grad[i] = np.sum((above - f()) * dout) / (2 * step)
        x[i] = saved
    return grad


def directional_derivative(loss: Callable[[], float], x: Array, direction: Array, step: float = STEP) -> float:
    """Compute the central difference (loss(x + h d) - loss(x - h d)) / 2h along a direction d, about <grad, d>.

    Shapes: x, direction (any) float64.
    Source: the check of HIPS/autograd, `check_grads`.
    """
    saved = x.copy()
    x += step * direction
    above = loss()
    x[...] = saved - step * direction
    below = loss()
    x[...] = saved
    return (above - below) / (2 * step)


def relative_error(a: Array | float, b: Array | float, smallest: float = 0.0) -> float:
    """Compute max |a - b| / max(|a|, |b|, `smallest`) over all elements; 0 when all are 0."""
    size = max(float(np.max(np.abs(a), initial=0)), float(np.max(np.abs(b), initial=0)), smallest)
    return float(np.max(np.abs(np.subtract(a, b)), initial=0)) / size if size else 0.0


def part_errors(names: str, a: Array, b: Array, smallest: float = 0.0) -> tuple[tuple[str, float], ...]:
    """Compute max |a - b| of each part of the last axis, relative to max(|a|, |b|, `smallest`) of the whole arrays."""
    size = max(float(np.abs(a).max()), float(np.abs(b).max()), smallest)
    differences = np.split(np.abs(a - b), len(names), axis=-1) if names else []
    return tuple((name, float(part.max()) / size) for name, part in zip(names, differences, strict=True))


def compare_elements(
    case: Case, array: str, numeric: Array, analytic: Array, smallest: float = 0.0, tolerance: float = TOLERANCE
) -> CheckResult:
    """Compare all elements of a gradient of a case; errors are relative to its largest element, or to `smallest`."""
    error = relative_error(numeric, analytic, smallest)
    if error > tolerance:  # a kink, such as that of max(0, a), may be within the step
        nearer = numeric_gradient(case.loss, case.arrays[array], STEP / 100)
        error = min(error, relative_error(nearer, analytic, smallest))
    parts = part_errors(case.parts.get(array, ""), numeric, analytic, smallest) if error > tolerance else ()
    return CheckResult(case.name, array, "elements", error, error <= tolerance, parts)


def check_gradients(
    case: Case, rng: np.random.Generator, full: bool = False, tolerance: float = TOLERANCE
) -> Iterator[CheckResult]:
    """Compare every gradient of a case with numeric ones.

    Unless `full`, a gradient passes if its directional derivative agrees. If not, its elements decide: a random
    direction can be nearly orthogonal to a correct gradient. Errors are relative to the largest element of a gradient.
    """
    grads = case.grads()
    for name, x in case.arrays.items():
        analytic = grads.get(name)
        if analytic is None or analytic.shape != x.shape or not np.isfinite(analytic).all():
            yield CheckResult(case.name, name, "invalid", np.inf, False)
            continue
        direction = rng.standard_normal(x.shape)
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
        numeric = directional_derivative(case.loss, x, direction)
        error = relative_error(numeric, float(np.vdot(analytic, direction)))
        if error <= tolerance and not full:
            yield CheckResult(case.name, name, "direction", error, True)
        else:
            yield compare_elements(case, name, numeric_gradient(case.loss, x), analytic, tolerance=tolerance)
