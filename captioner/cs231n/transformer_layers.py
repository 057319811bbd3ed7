"""The layers of the assignment's `cs231n/transformer_layers.py`, which is written in PyTorch, for NumPy.

The functions are those of the assignment's classes, with backward passes, in the style of `rnn_layers.py`. Parameters
are a dict, and gradients have the same names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers.affine import temporal_affine_backward, temporal_affine_forward
from captioner.layers.embedding import sinusoids
from captioner.layers.feed_forward import feed_forward_backward, feed_forward_forward, relu
from captioner.layers.layer_norm import EPSILON, layer_norm_backward, layer_norm_forward
from captioner.layers.multi_head_attention import dot_product_attention, dot_product_attention_backward

__all__ = ["layernorm_backward", "layernorm_forward", "positional_encoding"]
__all__ += ["multi_head_attention_backward", "multi_head_attention_forward"]
__all__ += ["decoder_layer_backward", "decoder_layer_forward"]


def positional_encoding(max_len: int, embed_dim: int) -> Array:
    """Return the sinusoidal encoding of each position: sine in even columns, cosine in odd ones.

    Shapes: -> (max_len, embed_dim).
    Source: CS231n, assignment 3, transformer_layers.py.
    """
    return sinusoids(max_len, embed_dim)


def layernorm_forward(x: Array, gamma: Array, beta: Array, ln_param: Mapping[str, float]) -> tuple[Array, Any]:
    """Normalize the last axis: out = gamma (x - mean) / sqrt(var + eps) + beta; `ln_param` may have eps (1e-5).

    Shapes: x (..., D), gamma, beta (D,) -> out like x.
    Source: CS231n, assignment 2, layers.py.
    """
    return layer_norm_forward(x, gamma, beta, ln_param.get("eps", EPSILON))


def layernorm_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
    """Compute the gradients of `layernorm_forward`.

    Shapes: dout (..., D) -> dx like dout, dgamma, dbeta (D,).
    """
    return layer_norm_backward(dout, cache)


def multi_head_attention_forward(
    query: Array, key: Array, value: Array, params: Params, num_heads: int, attn_mask: Array | None = None
) -> tuple[Array, Any]:
    """Attend with each query to the keys: out = softmax(q kᵀ / sqrt(E / heads)) v Wo + bo for the columns of each head.

    q = query Wq + bq, k = key Wk + bk, v = value Wv + bv; `attn_mask` is true where attention is allowed.

    Shapes: query (N, S, E), key, value (N, T, E), params Wq, Wk, Wv, Wo (E, E), bq, bk, bv, bo (E,), attn_mask (S, T)
    -> out (N, S, E).
    Raises: ValueError if the heads do not divide E, or for a mask of another shape or a row of it without any true.
    Source: CS231n, assignment 3, transformer_layers.py; Vaswani et al. 2017, section 3.2.
    """
    if query.shape[-1] % num_heads:
        raise ValueError(f"num_heads: expected a divisor of embed_dim {query.shape[-1]}, got {num_heads}")
    mask, shape = None if attn_mask is None else np.asarray(attn_mask, bool), (query.shape[1], key.shape[1])
    if mask is not None and (mask.shape != shape or not mask.any(axis=1).all()):
        got = mask.shape if mask.shape != shape else f"nothing in row {mask.any(axis=1).argmin()}"
        raise ValueError(f"attn_mask: expected {shape} with something allowed in each row, got {got}")
    inputs = dict(zip("qkv", (query, key, value), strict=True))
    projected = {x: temporal_affine_forward(a, params[f"W{x}"], params[f"b{x}"]) for x, a in inputs.items()}
    q, k, v = (out for out, _ in projected.values())
    bias = None if mask is None else np.where(mask, 0, -np.inf).astype(q.dtype)
    context, weights = dot_product_attention(q, k, v, num_heads, bias)
    out, output = temporal_affine_forward(context, params["Wo"], params["bo"])
    return out, ({x: cache for x, (_, cache) in projected.items()}, (q, k, v, weights), output)


def multi_head_attention_backward(dout: Array, cache: Any) -> tuple[Array, Array, Array, Params]:
    """Compute the gradients of `multi_head_attention_forward`.

    Shapes: dout (N, S, E) -> dquery (N, S, E), dkey, dvalue (N, T, E), grads like params.
    """
    projections, attention, output = cache
    dcontext, dWo, dbo = temporal_affine_backward(dout, output)
    grads, dinputs = {"Wo": dWo, "bo": dbo}, []
    for (x, projection), d in zip(
        projections.items(), dot_product_attention_backward(dcontext, *attention), strict=True
    ):
        dinput, grads[f"W{x}"], grads[f"b{x}"] = temporal_affine_backward(d, projection)
        dinputs.append(dinput)
    dquery, dkey, dvalue = dinputs
    return dquery, dkey, dvalue, grads


def decoder_layer_forward(
    tgt: Array, memory: Array, params: Params, num_heads: int, tgt_mask: Array | None = None
) -> tuple[Array, Any]:
    """Apply a decoder layer: self-attention, attention over memory and feed-forward, each with x = norm(x + f(x)).

    `params` are those of the two attentions with the prefixes self_ and cross_, W1, b1, W2, b2 of the feed-forward
    layer with ReLU, and gamma1, beta1, ... gamma3, beta3 of the norms.

    Shapes: tgt (N, S, E), memory (N, T, E), tgt_mask (S, S) -> out (N, S, E).
    Source: CS231n, assignment 3, transformer_layers.py; PyTorch's `nn.TransformerDecoderLayer`.
    """
    own, cross = ({k.removeprefix(p): w for k, w in params.items() if k.startswith(p)} for p in ("self_", "cross_"))
    attended, self_cache = multi_head_attention_forward(tgt, tgt, tgt, own, num_heads, tgt_mask)
    x, norm1 = layernorm_forward(tgt + attended, params["gamma1"], params["beta1"], {})
    attended, cross_cache = multi_head_attention_forward(x, memory, memory, cross, num_heads)
    x, norm2 = layernorm_forward(x + attended, params["gamma2"], params["beta2"], {})
    W1, b1, W2, b2 = (params[name] for name in ("W1", "b1", "W2", "b2"))
    added, feed_forward = feed_forward_forward(x.reshape(-1, x.shape[-1]), W1, b1, W2, b2, relu)
    out, norm3 = layernorm_forward(x + added.reshape(x.shape), params["gamma3"], params["beta3"], {})
    return out, (self_cache, norm1, cross_cache, norm2, feed_forward, norm3)


def decoder_layer_backward(dout: Array, cache: Any) -> tuple[Array, Array, Params]:
    """Compute the gradients of `decoder_layer_forward`.

    Shapes: dout (N, S, E) -> dtgt (N, S, E), dmemory (N, T, E), grads like params.
    """
    self_cache, norm1, cross_cache, norm2, feed_forward, norm3 = cache
    grads: Params = {}
    dx, grads["gamma3"], grads["beta3"] = layernorm_backward(dout, norm3)
    drows, *dweights = feed_forward_backward(dx.reshape(-1, dx.shape[-1]), feed_forward)
    grads.update(zip(("W1", "b1", "W2", "b2"), dweights, strict=True))
    dx, grads["gamma2"], grads["beta2"] = layernorm_backward(dx + drows.reshape(dx.shape), norm2)
    dquery, dkey, dvalue, cross = multi_head_attention_backward(dx, cross_cache)
    dmemory = dkey + dvalue
    dx, grads["gamma1"], grads["beta1"] = layernorm_backward(dx + dquery, norm1)
    dquery, dkey, dvalue, own = multi_head_attention_backward(dx, self_cache)
    for prefix, part in (("self_", own), ("cross_", cross)):
        grads |= {prefix + name: grad for name, grad in part.items()}
    return dx + dquery + dkey + dvalue, dmemory, grads
