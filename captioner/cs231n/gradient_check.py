"""The assignment's `cs231n/gradient_check.py`."""

from __future__ import annotations

from collections.abc import Callable

from captioner.arrays import Array
from captioner.gradcheck.numeric import numeric_gradient

__all__ = ["eval_numerical_gradient", "eval_numerical_gradient_array"]


def eval_numerical_gradient(f: Callable[[Array], float], x: Array, verbose: bool = True, h: float = 1e-5) -> Array:
    """Compute the numeric gradient of a scalar function by central differences; x is modified in place and restored.

    `verbose` is part of the assignment's signature and has no effect.
    """
    return numeric_gradient(lambda: f(x), x, h)


def eval_numerical_gradient_array(f: Callable[[Array], Array], x: Array, df: Array, h: float = 1e-5) -> Array:
    """Compute the numeric gradient of Σ f(x) df for an array-valued function by central differences."""
    return numeric_gradient(lambda: f(x), x, h, df)
