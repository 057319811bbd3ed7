"""Affine maps: the same weights for every row, or for every time step."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array

AffineCache: TypeAlias = tuple[Array, Array]
Out: TypeAlias = tuple[Array | None, Array | None, Array | None]


def affine_forward(x: Array, w: Array, b: Array, *, out: Array | None = None) -> tuple[Array, AffineCache]:
    """Map every row: out = x w + b, with x flattened to N rows; into `out` where it is given.

    Shapes: x (N, ...) of D numbers a row, w (D, M), b (M,) -> out (N, M).
    """
    out = np.matmul(x.reshape(len(x), len(w)), w, out=out)
    out += b
    return out, (x, w)


def affine_backward(dout: Array, cache: AffineCache, *, out: Out = (None, None, None)) -> tuple[Array, Array, Array]:
    """Gradients of `affine_forward`: dx = dout wᵀ, dw = xᵀ dout, db = Σ_n dout; into `out` where it is given.

    Shapes: dout (N, M) -> dx like x, dw (D, M), db (M,).
    """
    x, w = cache
    dx, dw, db = out
    return np.matmul(dout, w.T, out=dx).reshape(x.shape), *affine_weights_backward(dout, x, out=(dw, db))


def affine_weights_backward(
    dout: Array, x: Array, *, out: tuple[Array | None, Array | None] = (None, None)
) -> tuple[Array, Array]:
    """The half of `affine_backward` that is needed where x is data: dw = xᵀ dout, db = Σ_n dout.

    Shapes: dout (N, M), x (N, ...) of D numbers a row -> dw (D, M), db (M,).
    """
    dw, db = out
    return np.matmul(x.reshape(len(x), math.prod(x.shape[1:])).T, dout, out=dw), dout.sum(axis=0, out=db)


def temporal_affine_forward(x: Array, w: Array, b: Array) -> tuple[Array, AffineCache]:
    """Map every time step of every caption: out[n, t] = x[n, t] w + b.

    Shapes: x (N, T, D), w (D, M), b (M,) -> out (N, T, M).
    """
    out, cache = affine_forward(x.reshape(-1, len(w)), w, b)
    return out.reshape(*x.shape[:-1], len(b)), cache


def temporal_affine_backward(dout: Array, cache: AffineCache) -> tuple[Array, Array, Array]:
    """Gradients of `temporal_affine_forward`.

    Shapes: dout (N, T, M) -> dx (N, T, D), dw (D, M), db (M,).
    """
    dx, dw, db = affine_backward(dout.reshape(-1, dout.shape[-1]), cache)
    return dx.reshape(*dout.shape[:-1], len(dw)), dw, db
