"""Gradient clipping by the global norm."""

from __future__ import annotations

import math

import numpy as np

from captioner.arrays import Params


def global_norm(grads: Params) -> float:
    """The Euclidean norm of all gradients together: √ Σ g².

    The sum is in the order of the names: the order of the dict does not change its last bit.
    """
    return math.sqrt(sum(float(np.vdot(grads[name], grads[name])) for name in sorted(grads)))


def clip_scale(norm: float, limit: float | None) -> float:
    """The factor that brings gradients of a norm down to a limit: min(1, limit / norm).

    Source: Pascanu et al. 2013, algorithm 1.
    """
    return 1.0 if limit is None or norm <= limit else limit / norm
