"""Softmax and its cross-entropy with the next word."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array

CACHE = 1 << 17
"""So many scores at a time that the passes over them (bias, max, exp, sum, scale) find them in the cache."""


def log_softmax(scores: Array, bias: Array | float = 0.0, *, out: Array | None = None) -> Array:
    """Log-probabilities of rows of scores + bias: s - m - log Σ_v exp(s_v - m), with m the row's maximum.

    Into `out` where it is given, which may be `scores` itself.

    Shapes: scores (N, V), bias (V,) -> (N, V).
    """
    out = np.empty_like(scores) if out is None else out
    block = max(1, CACHE // scores.shape[1])
    for first in range(0, len(scores), block):
        s = np.add(scores[first : first + block], bias, out=out[first : first + block])
        s -= s.max(axis=1, keepdims=True)
        s -= np.log(np.exp(s).sum(axis=1, keepdims=True))
    return out


def cross_entropy(
    scores: Array, targets: Array, scale: Array | float, bias: Array | float = 0.0, smoothing: float = 0.0
) -> tuple[Array, Array, Array, Array]:
    """Cross-entropy of each row's target under scores + bias, and the gradients of Σ_p scale_p loss_p.

    loss_p = log Σ_v exp(s_pv - m_p) - Σ_v q_pv (s_pv - m_p),  dscores_pv = scale_p (softmax(s_p)_v - q_pv),
    dbias = Σ_p dscores_p,  q_pv = (1 - ε) [v = y_p] + ε / V,  nll_p = -log P(y_p)

    With label smoothing ε the target y_p has not all of the wanted probability q; without it, loss_p is nll_p, and both
    are one array.
    The maximum m_p keeps every exponent at or below 0, so scores of 1e4 are as good as any.
    In place: `dscores` is the memory of `scores`.

    Shapes: scores (P, V), targets (P,) ids, scale (P,) or one, bias (V,) -> losses (P,), nll (P,), dscores (P, V),
    dbias (V,).
    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7 (label smoothing).
    """
    nll = np.empty(len(scores), scores.dtype)
    losses = np.empty_like(nll) if smoothing else nll
    dbias = np.zeros(scores.shape[1], scores.dtype)
    block = max(1, CACHE // scores.shape[1])
    scales = np.broadcast_to(np.asarray(scale, scores.dtype), len(scores))
    evenly = smoothing / scores.shape[1]
    for first in range(0, len(scores), block):
        s = scores[first : first + block]
        of_row = scales[first : first + block]
        target = np.arange(len(s)), targets[first : first + block]
        s += bias
        s -= s.max(axis=1, keepdims=True)
        of_target = s[target]
        if smoothing:
            wanted = (1 - smoothing) * of_target + evenly * s.sum(axis=1)
        np.exp(s, out=s)
        total = s.sum(axis=1, keepdims=True)
        log_total = np.log(total[:, 0])
        nll[first : first + block] = log_total - of_target
        if smoothing:
            losses[first : first + block] = log_total - wanted
        s *= of_row[:, None] / total
        s[target] -= (1 - smoothing) * of_row
        if smoothing:
            s -= evenly * of_row[:, None]
        dbias += s.sum(axis=0)
    return losses, nll, scores, dbias


def temporal_softmax_loss(x: Array, y: Array, mask: Array, verbose: bool = False) -> tuple[float, Array]:
    """Cross-entropy over the unmasked words of N captions, summed over time and divided by N, with its gradient.

    loss = 1/N Σ_nt mask_nt (-log softmax(x_nt)[y_nt])

    `verbose` is part of the assignment's signature and has no effect.

    Shapes: x (N, T, V) scores, y (N, T) ids, mask (N, T) bool -> loss, dx (N, T, V).
    Source: CS231n, assignment 3, rnn_layers.py.
    """
    live = np.asarray(mask, bool)
    losses, _, dscores, _ = cross_entropy(x[live], y[live], 1 / len(x))
    dx = np.zeros_like(x)
    dx[live] = dscores
    return float(losses.sum(dtype=np.float64)) / len(x), dx
