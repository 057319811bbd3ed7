"""Affine layers, for rows and for time steps."""

from __future__ import annotations

from typing import TypeAlias

from captioner.arrays import Array

AffineCache: TypeAlias = tuple[Array, Array]


def affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, AffineCache]:
    """Apply an affine map to each row: out = x w + b, with x flattened to (N, D).

    Shapes: x (N, ...), w (D, M), b (M,) -> out (N, M).
    """
    out = x.reshape(len(x), len(w)) @ w
    out += b
    return out, (x, w)


def affine_backward(dout: Array, cache: AffineCache) -> tuple[Array, Array, Array]:
    """Compute the gradients of `affine_forward`: dx = dout wᵀ, dw = xᵀ dout, db = Σ_n dout.

    Shapes: dout (N, M) -> dx like x, dw (D, M), db (M,).
    """
    x, w = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), len(w)).T @ dout, dout.sum(axis=0)


def temporal_affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, AffineCache]:
    """Apply an affine map at each time step: out[n, t] = x[n, t] w + b.

    Shapes: x (N, T, D), w (D, M), b (M,) -> out (N, T, M).
    """
    out, cache = affine_forward(x.reshape(-1, len(w)), w, b)
    return out.reshape(*x.shape[:-1], len(b)), cache


def temporal_affine_backward(dout: Array, cache: AffineCache) -> tuple[Array, Array, Array]:
    """Compute the gradients of `temporal_affine_forward`.

    Shapes: dout (N, T, M) -> dx (N, T, D), dw (D, M), db (M,).
    """
    dx, dw, db = affine_backward(dout.reshape(-1, dout.shape[-1]), cache)
    return dx.reshape(*dout.shape[:-1], len(dw)), dw, db
