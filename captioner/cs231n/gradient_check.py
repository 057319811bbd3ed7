"""The assignment's `cs231n/gradient_check.py`."""

from __future__ import annotations

from collections.abc import Callable

from captioner.arrays import Array
from captioner.gradcheck.numeric import numeric_gradient

__all__ = ["eval_numerical_gradient", "eval_numerical_gradient_array"]


def eval_numerical_gradient(f: Callable[[Array], float], x: Array, verbose: bool = True, h: float = 1e-5) -> Array:
    """Central differences of a scalar function of x, which is changed in place and put back.

    `verbose` is part of the assignment's signature and has no effect.
    """
    return numeric_gradient(lambda: f(x), x, h)


def eval_numerical_gradient_array(f: Callable[[Array], Array], x: Array, df: Array, h: float = 1e-5) -> Array:
    """Central differences of Σ <f(x), df> for an array-valued function."""
    return numeric_gradient(lambda: f(x), x, h, df)
