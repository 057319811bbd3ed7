"""Attention of an LSTM over image regions: `rnn_lstm_attention_captioning.py` of EECS 498 (University of Michigan)."""

from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.layers.lstm import lstm_step_backward, lstm_step_forward

__all__ = ["attention_backward", "attention_forward", "dot_product_attention_backward", "dot_product_attention_forward"]


def dot_product_attention_forward(prev_h: Array, A: Array) -> tuple[Array, Array, Any]:
    """Compute attn = Σ_l α_l A_l with the weights α = softmax(prev_h · A_l / sqrt(H)) of the regions A_l of A.

    Shapes: prev_h (N, H), A (N, H, D_a, D_a) -> attn (N, H), attn_weights (N, D_a, D_a).
    """
    scores = np.einsum("nh,nhij->nij", prev_h, A) / A.shape[1] ** 0.5
    e = np.exp(scores - scores.max(axis=(1, 2), keepdims=True))
    weights = e / e.sum(axis=(1, 2), keepdims=True)
    return np.einsum("nij,nhij->nh", weights, A), weights, (prev_h, A, weights)


def dot_product_attention_backward(dattn: Array, dattn_weights: Array | float, cache: Any) -> tuple[Array, Array]:
    """Compute the gradients of `dot_product_attention_forward`: dprev_h and dA."""
    prev_h, A, weights = cache
    dweights = dattn_weights + np.einsum("nh,nhij->nij", dattn, A)
    dscores = weights * (dweights - (weights * dweights).sum(axis=(1, 2), keepdims=True)) / A.shape[1] ** 0.5
    dA = np.einsum("nij,nh->nhij", weights, dattn) + np.einsum("nij,nh->nhij", dscores, prev_h)
    return np.einsum("nij,nhij->nh", dscores, A), dA


def attention_forward(x: Array, A: Array, Wx: Array, Wh: Array, Wattn: Array, b: Array) -> tuple[Array, Any]:
    """Run an LSTM with a = x Wx + prev_h Wh + attn Wattn + b; h0 and c0 are the mean of the regions.

    Shapes: x (N, T, D), A (N, H, D_a, D_a), Wx (D, 4 H), Wh, Wattn (H, 4 H), b (4 H,) -> h (N, T, H).
    """
    W, hidden, caches = np.concatenate([Wx, Wattn]), [A.mean(axis=(2, 3))], []
    c = hidden[0]
    for t in range(x.shape[1]):
        attn, _, attended = dot_product_attention_forward(hidden[t], A)
        h, c, cache = lstm_step_forward(np.concatenate([x[:, t], attn], axis=1), hidden[t], c, W, Wh, b)
        hidden.append(h)
        caches.append((attended, cache))
    return np.stack(hidden[1:], axis=1), ((x, A, W, Wh, b), caches)


def attention_backward(dh: Array, cache: Any) -> tuple[Array, ...]:
    """Compute the gradients of `attention_forward`: dx, dA, dWx, dWh, dWattn and db."""
    dx, dA, dW, dWh, db = (np.zeros_like(a) for a in cache[0])
    size, dprev_h, dprev_c = dx.shape[2], np.zeros_like(dh[:, 0]), np.zeros_like(dh[:, 0])
    for t, (attended, step) in reversed([*enumerate(cache[1])]):
        dinput, dprev_h, dprev_c, *dweights = lstm_step_backward(dh[:, t] + dprev_h, dprev_c, step)
        dquery, *dregions = dot_product_attention_backward(dinput[:, size:], 0, attended)
        dx[:, t], dprev_h = dinput[:, :size], dprev_h + dquery
        for total, part in zip((dA, dW, dWh, db), (*dregions, *dweights), strict=True):
            total += part
    dA += (dprev_h + dprev_c)[..., None, None] / dA[0, 0].size
    return dx, dA, dW[:size], dWh, dW[size:], db
