"""Layer normalization of the last axis."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array

EPSILON = 1e-5
"""The default of PyTorch's `nn.LayerNorm`."""

BLOCK_ROWS = 64
"""Rows whose gradients are computed at a time, so that they stay in the CPU cache over all passes."""


class LayerNormCache(NamedTuple):
    """Shapes: normalized x̂ (P, E), scale 1 / σ (P, 1), gamma (E,)."""

    normalized: Array
    scale: Array
    gamma: Array


def _normalize(x: Array, eps: float, out: Array) -> Array:
    """Write x̂ into `out`, and return 1 / σ.

    Shapes: x (P, E) -> (P, 1).
    """
    width = x.shape[1]
    mean = np.full((width, 1), 1 / width, x.dtype)  # a product with it is faster than the mean of short rows
    np.subtract(x, x @ mean, out=out)
    scale: Array = 1 / np.sqrt(np.einsum("pe,pe->p", out, out)[:, None] / width + eps)
    out *= scale
    return scale


def layer_norm(x: Array, gamma: Array, beta: Array, eps: float = EPSILON) -> Array:
    """Compute `layer_norm_forward` without a cache.

    Shapes: x (P, E), gamma, beta (E,) -> (P, E).
    """
    out = np.empty_like(x)
    _normalize(x, eps, out)
    out *= gamma
    out += beta
    return out


def layer_norm_forward(x: Array, gamma: Array, beta: Array, eps: float = EPSILON) -> tuple[Array, LayerNormCache]:
    """Normalize each vector: x̂ = (x - μ) / σ, σ² = mean (x - μ)² + ε;   out = γ x̂ + β.

    Shapes: x (..., E), gamma, beta (E,) -> out like x.
    Source: Ba et al. 2016, "Layer Normalization", section 3.
    """
    rows = x.reshape(-1, len(gamma))
    normalized = np.empty_like(rows)
    scale = _normalize(rows, eps, normalized)
    out = normalized * gamma
    out += beta
    return out.reshape(x.shape), LayerNormCache(normalized, scale, gamma)


def layer_norm_backward(dout: Array, cache: LayerNormCache) -> tuple[Array, Array, Array]:
    """Compute the gradients of `layer_norm_forward`:

    g = γ dout;   dx = (g - mean g - x̂ mean(g x̂)) / σ;   dγ = Σ_p dout x̂;   dβ = Σ_p dout

    Shapes: dout (..., E) -> dx like dout, dgamma, dbeta (E,).
    """
    normalized, scale, gamma = cache
    rows, width = dout.reshape(normalized.shape), len(gamma)
    weights = (gamma / width)[:, None]  # v @ weights is mean(γ v)
    dx, dgamma, dbeta = np.empty_like(rows), np.zeros_like(gamma), np.zeros_like(gamma)
    for first in range(0, len(rows), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        d, x, g = rows[block], normalized[block], dx[block]
        product = d * x
        dgamma += product.sum(axis=0)
        dbeta += d.sum(axis=0)
        np.multiply(x, product @ weights, out=product)
        product += d @ weights
        np.multiply(d, gamma, out=g)
        g -= product
        g *= scale[block]
    return dx.reshape(dout.shape), dgamma, dbeta
