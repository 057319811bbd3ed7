"""Softmax and cross-entropy."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array

CACHED = 1 << 16
"""Numbers that stay in the CPU cache over all passes of `log_softmax`."""


def log_softmax(scores: Array, bias: Array | float = 0.0, *, out: Array | None = None) -> Array:
    """Compute the log-probabilities of scores + bias: s - m - log Σ_v exp(s_v - m), with m the maximum of the row.

    `out` may be `scores` itself.

    Shapes: scores (N, V), bias (V,) -> (N, V).
    """
    if out is None:
        out = np.empty(scores.shape, np.result_type(scores, bias))
    size = max(1, CACHED // max(1, scores.shape[1]))
    for first in range(0, len(scores), size):
        rows = slice(first, first + size)
        s = np.add(scores[rows], bias, out=out[rows])
        s -= s.max(axis=1, keepdims=True)
        s -= np.log(np.exp(s).sum(axis=1, keepdims=True))
    return out


def softmax(scores: Array) -> Array:
    """Compute the probabilities exp(s_v - m) / Σ_w exp(s_w - m), with m the maximum of the row; overwrites `scores`.

    Shapes: scores (N, V) -> (N, V).
    """
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


def cross_entropy(
    scores: Array, targets: Array, scale: Array | float, bias: Array | float = 0.0, smoothing: float = 0.0
) -> tuple[Array, Array, Array, Array]:
    """Compute the cross-entropy of each target under scores + bias, and the gradients of Σ_p scale_p loss_p.

    loss_p = log Σ_v exp(s_pv - m_p) - Σ_v q_pv (s_pv - m_p),  dscores_pv = scale_p (softmax(s_p)_v - q_pv),
    dbias = Σ_p dscores_p,  q_pv = (1 - ε) [v = y_p] + ε / V,  nll_p = -log P(y_p)

    ε is the label smoothing; if it is 0, loss_p is nll_p, and both are one array. Subtracting the maximum m_p avoids
    overflow. `dscores` overwrites `scores`.

    Shapes: scores (P, V), targets (P,) ids, scale (P,) or a number, bias (V,) -> losses (P,), nll (P,), dscores (P, V),
    dbias (V,).
    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7 (label smoothing).
    """
    scale = np.broadcast_to(np.asarray(scale, scores.dtype), len(scores))
    uniform = smoothing / scores.shape[1]
    target = np.arange(len(scores)), targets
    scores += bias
    scores -= scores.max(axis=1, keepdims=True)
    losses = nll = -scores[target]
    if smoothing:
        losses = (1 - smoothing) * nll - uniform * scores.sum(axis=1)
    np.exp(scores, out=scores)
    total = scores.sum(axis=1, keepdims=True)
    log_total = np.log(total[:, 0])
    nll += log_total
    if smoothing:
        losses += log_total
    scores *= scale[:, None] / total
    scores[target] -= (1 - smoothing) * scale
    if smoothing:
        scores -= uniform * scale[:, None]
    return losses, nll, scores, scores.sum(axis=0)


def temporal_softmax_loss(x: Array, y: Array, mask: Array, verbose: bool = False) -> tuple[float, Array]:
    """Compute the cross-entropy of the unmasked words, summed over time and divided by N, and its gradient.

    loss = 1/N Σ_nt mask_nt (-log softmax(x_nt)[y_nt])

    `verbose` exists for the assignment's signature and has no effect.

    Shapes: x (N, T, V) scores, y (N, T) ids, mask (N, T) bool -> loss, dx (N, T, V).
    Source: CS231n, assignment 3, rnn_layers.py.
    """
    live = np.asarray(mask, bool)
    losses, _, dscores, _ = cross_entropy(x[live], y[live], 1 / len(x))
    dx = np.zeros_like(x)
    dx[live] = dscores
    return float(losses.sum(dtype=np.float64)) / len(x), dx
