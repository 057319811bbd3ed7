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
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array, Params, SharedRows
from captioner.layers.dropout import NoiseRows, row_dropout_backward, row_dropout_forward
from captioner.layers.feed_forward import ACTIVATIONS, feed_forward_backward, feed_forward_forward
from captioner.layers.layer_norm import LayerNormCache, layer_norm_backward, layer_norm_forward
from captioner.layers.multi_head_attention import (
    AttentionCache,
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

    Shapes: rows (B, E), slots (N, T).
    """

    rows: Array
    slots: Array
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
    slots = np.stack([of_regions + np.arange(count), np.full(count, of_regions + count)], axis=1)
    if regions is not None:
        each = regions.values.shape[1]
        slots = np.concatenate([regions.index[:, None] * each + np.arange(each), slots], axis=1)
    return Memory(rows, slots, image, values)


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


class Sublayer(NamedTuple):
    """The caches of a sublayer, its norm and its dropout; `backward(dout, cache)` -> dx, gradients of `names`."""

    backward: Callable[..., tuple[Array, ...]]
    names: tuple[str, ...]
    cache: Any
    norm: LayerNormCache
    mask: Array | None


class DecoderCache(NamedTuple):
    """The caches of all layers, none without `save_for_backward`, and of the last layer's attention over memory."""

    layers: list[list[Sublayer]]
    memory: Memory
    final: LayerNormCache | None
    attention: AttentionCache


def decoder_forward(
    p: Params,
    sizes: Sizes,
    x: Array,
    table: Array,
    memory: Memory,
    slots: Array,
    rate: float,
    rng: np.random.Generator | None,
    positions: NoiseRows,
    save_for_backward: bool = True,
    pool: ThreadPool = SERIAL,
) -> tuple[Array, DecoderCache]:
    """Apply all layers to packed words; dropout applies to the output of each sublayer.

    Shapes: x (P, E), table (N, S) of the rows of each caption, slots (N, T) of memory in the same order -> (P, E).
    """
    is_pre, layers = sizes.norm == "pre", []
    for layer in range(sizes.layers):
        w, sublayers = layer_params(p, layer), []
        of_layer = _sublayers(w, sizes, table, memory.rows, slots, save_for_backward, pool)
        for i, (forward, backward, names) in enumerate(of_layer, 1):
            gamma, beta, normed, norm = w[f"gamma{i}"], w[f"beta{i}"], x, None
            if is_pre:
                normed, norm = layer_norm_forward(x, gamma, beta, pool=pool)
            out, cache = forward(normed)
            out, mask = row_dropout_forward(out, rate, rng, positions, pool)
            out += x
            if norm is None:
                out, norm = layer_norm_forward(out, gamma, beta, pool=pool)
            if save_for_backward:
                sublayers.append(Sublayer(backward, names, cache, norm, mask))
            if forward is of_layer[1][0]:
                attention = cache
            x = out
        layers.append(sublayers)
    final = None
    if is_pre:
        x, final = layer_norm_forward(x, p["gamma"], p["beta"], pool=pool)
    return x, DecoderCache(layers, memory, final, attention)


def _sublayers(
    w: Params, sizes: Sizes, table: Array, memory: Array, slots: Array, save_for_backward: bool, pool: ThreadPool
) -> list[tuple[Callable[[Array], tuple[Array, Any]], Callable[..., tuple[Array, ...]], tuple[str, ...]]]:
    """Return the forward and the backward function of each sublayer, and the names of its parameters."""

    def attend_to_words(x: Array) -> tuple[Array, AttentionCache]:
        weights = w["self_W"], w["self_b"], w["self_Wo"], w["self_bo"]
        return self_attention_forward(x, table, *weights, sizes.heads, pool)

    def attend_to_memory(x: Array) -> tuple[Array, AttentionCache]:
        weights = w["cross_W"], w["cross_b"], w["cross_Wo"], w["cross_bo"]
        return memory_attention_forward(x, memory, table, slots, *weights, sizes.heads, pool)

    def feed_forward(x: Array) -> tuple[Array, Any]:
        weights = w["W1"], w["b1"], w["W2"], w["b2"]
        return feed_forward_forward(x, *weights, ACTIVATIONS[sizes.activation], pool, save_for_backward)

    return [
        (attend_to_words, self_attention_backward, ("self_W", "self_b", "self_Wo", "self_bo")),
        (attend_to_memory, memory_attention_backward, ("cross_W", "cross_b", "cross_Wo", "cross_bo")),
        (feed_forward, feed_forward_backward, ("W1", "b1", "W2", "b2")),
    ]


def decoder_backward(dx: Array, cache: DecoderCache, pool: ThreadPool = SERIAL) -> tuple[Array, Params]:
    """Compute the gradients of `decoder_forward` and of `memory_forward`.

    Shapes: dx (P, E) -> (P, E).
    """
    grads: Params = {}
    dmemory = np.zeros_like(cache.memory.rows)
    if cache.final is not None:
        dx, grads["gamma"], grads["beta"] = layer_norm_backward(dx, cache.final, pool)
    for layer, sublayers in reversed(list(enumerate(cache.layers))):
        for i, (backward, names, inner, norm, mask) in reversed(list(enumerate(sublayers, 1))):
            by_norm = f"layer{layer}_gamma{i}", f"layer{layer}_beta{i}"
            if cache.final is None:
                dx, *norm_grads = layer_norm_backward(dx, norm, pool)
            dnormed, *dweights = backward(row_dropout_backward(dx, mask), inner, pool)
            if backward is memory_attention_backward:
                dmemory += dweights.pop(0)
            if cache.final is not None:
                dnormed, *norm_grads = layer_norm_backward(dnormed, norm, pool)
            dnormed += dx
            dx = dnormed
            grads.update(zip(by_norm, norm_grads, strict=True))
            grads.update((f"layer{layer}_{name}", d) for name, d in zip(names, dweights, strict=True))
    return dx, grads | memory_backward(dmemory, cache.memory, pool)
