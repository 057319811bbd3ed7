"""Gradient clipping by the global norm."""

from __future__ import annotations

import math

import numpy as np

from captioner.arrays import Params


def global_norm(grads: Params) -> float:
    """Return the global norm of the gradients: √ Σ g².

    Terms are summed in the order of the names, so the result is bit-identical for any order of the dict.
    """
    return math.sqrt(sum(float(np.vdot(grads[name], grads[name])) for name in sorted(grads)))


def clip_scale(norm: float, limit: float | None) -> float:
    """Return the factor that clips gradients to a maximum norm: min(1, limit / norm).

    Source: Pascanu et al. 2013, algorithm 1.
    """
    return 1.0 if limit is None or norm <= limit else limit / norm
