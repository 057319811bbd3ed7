"""The layers of a transformer decoder over packed words, and the memory that they attend to.

Each layer has three sublayers f: self-attention, attention over memory, and feed-forward. Each adds to its input x,

x + f(norm(x))  (pre-norm, with a last norm after all layers),    or    norm(x + f(x))  (post-norm)

The memory of a caption is the rows of its regions, if any, of its projected image feature, and a learned null row.

Letters: P packed words, E width, B rows of memory, T rows of memory of a caption.
Source: Vaswani et al. 2017, "Attention Is All You Need", section 3; Xiong et al. 2020, "On Layer Normalization in the
Transformer Architecture", section 3 (pre-norm).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params, SharedRows
from captioner.layers.dropout import NoiseRows, row_dropout_backward, row_dropout_forward
from captioner.layers.feed_forward import ACTIVATIONS, FeedForwardCache, feed_forward_backward, feed_forward_forward
from captioner.layers.layer_norm import LayerNormCache, layer_norm_backward, layer_norm_forward
from captioner.layers.multi_head_attention import (
    MultiHeadCache,
    memory_attention_backward,
    memory_attention_forward,
    self_attention_backward,
    self_attention_forward,
)
from captioner.model.parameters import Sizes, layer_shapes
from captioner.parallel.thread_pool import SERIAL, ThreadPool

LAYER = tuple(layer_shapes(1, 1))
"""The names of the parameters of a layer, without the prefix of the layer."""


def layer_params(p: Params, layer: int) -> Params:
    """Return the parameters of a layer without the prefix of their names."""
    return {name: p[f"layer{layer}_{name}"] for name in LAYER}


class Memory(NamedTuple):
    """Rows of memory: M L of regions, N of image features, and the null row last; and those of each caption.

    Shapes: rows (B, E), table (N, T) of rows.
    """

    rows: Array
    table: Array
    image: Array
    regions: Array | None


def memory_forward(p: Params, image: Array, regions: SharedRows | None, pool: ThreadPool = SERIAL) -> Memory:
    """Project image features and regions to memory rows; the null row is last.

    Shapes: image (N, F), regions of N rows and values (M, L, R).
    """
    count, width = len(image), len(p["null"])
    values = None if regions is None else regions.values.reshape(-1, regions.values.shape[2])
    of_regions = 0 if values is None else len(values)
    rows = np.empty((of_regions + count + 1, width), image.dtype)
    if values is not None:
        pool.matmul(values, p["W_region"], rows[:of_regions])
        rows[:of_regions] += p["b_region"]
    pool.matmul(image, p["W_proj"], rows[of_regions:-1])
    rows[of_regions:-1] += p["b_proj"]
    rows[-1] = p["null"]
    table = np.stack([of_regions + np.arange(count), np.full(count, of_regions + count)], axis=1)
    if regions is not None:
        each = regions.values.shape[1]
        table = np.concatenate([regions.index[:, None] * each + np.arange(each), table], axis=1)
    return Memory(rows, table, image, values)


def memory_backward(drows: Array, memory: Memory, pool: ThreadPool = SERIAL) -> Params:
    """Compute the gradients of `memory_forward` for the parameters.

    Shapes: drows (B, E).
    """
    of_regions, grads = len(drows) - len(memory.image) - 1, {"null": drows[-1]}
    parts = {"proj": (memory.image, drows[of_regions:-1]), "region": (memory.regions, drows[:of_regions])}
    for name, (x, d) in parts.items():
        if x is not None:
            grads[f"W_{name}"] = pool.matmul(x.T, d, np.empty((x.shape[1], d.shape[1]), d.dtype))
            grads[f"b_{name}"] = d.sum(axis=0)
    return grads


class Residual(NamedTuple):
    """The caches of a sublayer, of its norm and of its dropout."""

    sublayer: Any
    norm: LayerNormCache
    mask: Array | None


class LayerCache(NamedTuple):
    words: Residual
    memory: Residual
    feed_forward: Residual


class DecoderCache(NamedTuple):
    """The caches of all layers, none without `save_for_backward`, and of the last layer's attention over memory."""

    layers: list[LayerCache]
    memory: Memory
    final: LayerNormCache | None
    attention: MultiHeadCache


Sublayer: TypeAlias = Callable[[Array], tuple[Array, Any]]
SublayerBackward: TypeAlias = Callable[[Array, Any, ThreadPool], tuple[Array, ...]]


def decoder_forward(
    p: Params,
    sizes: Sizes,
    x: Array,
    table: Array,
    memory: Memory,
    memory_table: Array,
    rate: float,
    rng: np.random.Generator | None,
    positions: NoiseRows,
    save_for_backward: bool = True,
    pool: ThreadPool = SERIAL,
) -> tuple[Array, DecoderCache]:
    """Apply all layers to packed words; dropout applies to the output of each sublayer.

    Shapes: x (P, E), table (N, S) of the rows of each caption, memory_table (N, T) of rows of memory in the same
    order -> (P, E).
    """
    is_pre, layers = sizes.norm == "pre", []
    # the functions use w, the parameters of the current layer

    def residual(i: int, x: Array, sublayer: Sublayer) -> tuple[Array, Residual]:
        gamma, beta, normed, norm = w[f"gamma{i}"], w[f"beta{i}"], x, None
        if is_pre:
            normed, norm = layer_norm_forward(x, gamma, beta, pool=pool)
        out, cache = sublayer(normed)
        out, mask = row_dropout_forward(out, rate, rng, positions, pool)
        out += x
        if norm is None:
            out, norm = layer_norm_forward(out, gamma, beta, pool=pool)
        return out, Residual(cache, norm, mask)

    def attend_to_words(x: Array) -> tuple[Array, MultiHeadCache]:
        weights = w["self_W"], w["self_b"], w["self_Wo"], w["self_bo"]
        return self_attention_forward(x, table, *weights, sizes.heads, pool)

    def attend_to_memory(x: Array) -> tuple[Array, MultiHeadCache]:
        weights = w["cross_W"], w["cross_b"], w["cross_Wo"], w["cross_bo"]
        return memory_attention_forward(x, memory.rows, table, memory_table, *weights, sizes.heads, pool)

    def feed_forward(x: Array) -> tuple[Array, FeedForwardCache]:
        weights = w["W1"], w["b1"], w["W2"], w["b2"]
        return feed_forward_forward(x, *weights, ACTIVATIONS[sizes.activation], pool, save_for_backward)

    for layer in range(sizes.layers):
        w = layer_params(p, layer)
        x, of_words = residual(1, x, attend_to_words)
        x, of_memory = residual(2, x, attend_to_memory)
        x, of_feed_forward = residual(3, x, feed_forward)
        if save_for_backward:
            layers.append(LayerCache(of_words, of_memory, of_feed_forward))
    final = None
    if is_pre:
        x, final = layer_norm_forward(x, p["gamma"], p["beta"], pool=pool)
    return x, DecoderCache(layers, memory, final, of_memory.sublayer)


def decoder_backward(dx: Array, cache: DecoderCache, pool: ThreadPool = SERIAL) -> tuple[Array, Params]:
    """Compute the gradients of `decoder_forward` and of `memory_forward`.

    Pre-norm:   dx = dout + norm'(f'(dout));        post-norm:   d = norm'(dout),   dx = d + f'(d)

    Shapes: dx (P, E) -> (P, E).
    """
    grads: Params = {}
    is_pre, dmemory = cache.final is not None, np.zeros_like(cache.memory.rows)
    # the functions use `prefix`, that of the names of the current layer

    def residual(i: int, dout: Array, inner: Residual, backward: SublayerBackward) -> tuple[Array, list[Array]]:
        if not is_pre:
            dout, dgamma, dbeta = layer_norm_backward(dout, inner.norm, pool)
        dx, *dweights = backward(row_dropout_backward(dout, inner.mask), inner.sublayer, pool)
        if is_pre:
            dx, dgamma, dbeta = layer_norm_backward(dx, inner.norm, pool)
        dx += dout
        grads[f"{prefix}gamma{i}"], grads[f"{prefix}beta{i}"] = dgamma, dbeta
        return dx, dweights

    def keep(names: str, gradients: list[Array]) -> None:
        grads.update((prefix + name, gradient) for name, gradient in zip(names.split(), gradients, strict=True))

    if cache.final is not None:
        dx, grads["gamma"], grads["beta"] = layer_norm_backward(dx, cache.final, pool)
    for layer, inner in reversed(list(enumerate(cache.layers))):
        prefix = f"layer{layer}_"
        dx, dweights = residual(3, dx, inner.feed_forward, feed_forward_backward)
        keep("W1 b1 W2 b2", dweights)
        dx, (of_memory, *dweights) = residual(2, dx, inner.memory, memory_attention_backward)
        dmemory += of_memory
        keep("cross_W cross_b cross_Wo cross_bo", dweights)
        dx, dweights = residual(1, dx, inner.words, self_attention_backward)
        keep("self_W self_b self_Wo self_bo", dweights)
    return dx, grads | memory_backward(dmemory, cache.memory, pool)
