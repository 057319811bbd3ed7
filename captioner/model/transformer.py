"""The layers of a transformer decoder over packed words, and the memory that they attend to.

Each layer has three sublayers f: self-attention, attention over memory, and feed-forward. Each adds to its input x,

x + f(norm(x))  (pre-norm, with a last norm after all layers)

The memory of a caption is the rows of its regions, if any, of its projected image feature, and a learned null row.
Captions of an image are a group, whose memory has its regions once, and the image feature of each caption.

Letters: P packed words, E width, G groups of captions, T rows of memory of a group.
Source: Vaswani et al. 2017, "Attention Is All You Need", section 3; Xiong et al. 2020, "On Layer Normalization in the
Transformer Architecture", section 3 (pre-norm).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params, SharedRows
from captioner.layers.attention import group_rows
from captioner.layers.dropout import dropout_forward, row_dropout_backward
from captioner.layers.embedding import word_embedding_backward
from captioner.layers.feed_forward import ACTIVATIONS, FeedForwardCache, feed_forward_backward, feed_forward_forward
from captioner.layers.layer_norm import LayerNormCache, layer_norm_backward, layer_norm_forward
from captioner.layers.multi_head_attention import (
    MultiHeadCache,
    group_table,
    memory_attention_backward,
    memory_attention_forward,
    self_attention_backward,
    self_attention_forward,
)
from captioner.model.parameters import Sizes, layer_shapes

LAYER = tuple(layer_shapes(1, 1))
"""The names of the parameters of a layer, without the prefix of the layer."""

MAX_CAPTIONS_PER_GROUP = 8
"""Captions of an image in a group: with more, most columns of its memory would be image features of other captions."""


def layer_params(p: Params, layer: int) -> Params:
    """Return the parameters of a layer without the prefix of their names."""
    return {name: p[f"layer{layer}_{name}"] for name in LAYER}


class CaptionGroups(NamedTuple):
    """Captions of the same image in groups of at most `MAX_CAPTIONS_PER_GROUP`, those with most words first.

    Shapes: group, place (N,) caption n is number place[n] < C of group[n]; image (G,) the image of each group.
    """

    group: Array
    place: Array
    image: Array

    @property
    def size(self) -> int:
        """C, the number of captions of the largest group."""
        return int(self.place.max(initial=-1)) + 1


def group_captions(image: Array, lengths: Array) -> CaptionGroups:
    """Group captions by image.

    Shapes: image, lengths (N,) the image and the number of words of each caption.
    """
    images = int(image.max(initial=-1)) + 1
    by_image, place = group_rows(image, images), np.empty_like(image)
    place[by_image.rows] = by_image.place - by_image.width * image[by_image.rows]
    ids, group = np.unique(place // MAX_CAPTIONS_PER_GROUP * images + image, return_inverse=True)
    order = np.argsort(-np.bincount(group, lengths, len(ids)), kind="stable")
    return CaptionGroups(np.argsort(order)[group], place % MAX_CAPTIONS_PER_GROUP, ids[order] % max(1, images))


class Memory(NamedTuple):
    """The memory of each group: L rows of regions, C of the image features of its captions, and the null row.

    Shapes: rows (G, L + C + 1, E), image (N, F), regions (M, L, R).
    """

    rows: Array
    groups: CaptionGroups
    image: Array
    regions: Array | None

    @property
    def columns(self) -> slice:
        """The columns of the image features."""
        return slice(self.rows.shape[1] - 1 - self.groups.size, self.rows.shape[1] - 1)

    def of_captions(self, x: Array) -> Array:
        """Return the rows that each caption may attend to, of an array with rows like the memory.

        Shapes: x (G, L + C + 1, D) -> (N, L + 2, D).
        """
        group, first = self.groups.group, self.columns.start
        own = x[group, first + self.groups.place]
        return np.concatenate([x[group, :first], own[:, None], x[group, -1:]], axis=1)

    def attention(self, caption: Array) -> tuple[Array, Array | None]:
        """Return the table of the packed rows of each group, and the bias of their scores.

        A caption may not attend to the image features of others, which differ by dropout.

        Shapes: caption (P,) -> (G, S), (G, S, L + C + 1).
        """
        table = group_table(self.groups.group[caption], len(self.rows))
        if self.groups.size < 2:
            return table, None
        bias = np.zeros((*table.shape, self.rows.shape[1]), self.rows.dtype)
        is_other = self.groups.place[caption[table]][..., None] != np.arange(self.groups.size)
        bias[..., self.columns][is_other] = -np.inf
        return table, bias


def memory_forward(p: Params, image: Array, regions: SharedRows | None, lengths: Array) -> Memory:
    """Project image features and regions to rows of memory; without regions, each caption is a group.

    Shapes: image (N, F), regions of N rows and values (M, L, R), lengths (N,) the number of words of each caption.
    """
    groups = group_captions(np.arange(len(image)) if regions is None else regions.index, lengths)
    each, width = 0 if regions is None else regions.values.shape[1], len(p["null"])
    rows = np.zeros((len(groups.image), each + groups.size + 1, width), image.dtype)

    rows[groups.group, each + groups.place] = image @ p["W_proj"] + p["b_proj"]
    rows[:, -1] = p["null"]
    if regions is not None:
        projected = regions.values.reshape(-1, regions.values.shape[2]) @ p["W_region"] + p["b_region"]
        rows[:, :each] = projected.reshape(*regions.values.shape[:2], width)[groups.image]
    return Memory(rows, groups, image, None if regions is None else regions.values)


def memory_backward(drows: Array, memory: Memory) -> Params:
    """Compute the gradients of `memory_forward` for the parameters.

    Shapes: drows (G, L + C + 1, E).
    """
    groups, first, grads = memory.groups, memory.columns.start, {"null": drows[:, -1].sum(axis=0)}

    def project_backward(x: Array, d: Array, name: str) -> None:
        grads[f"W_{name}"], grads[f"b_{name}"] = x.T @ d, d.sum(axis=0)

    project_backward(memory.image, drows[groups.group, first + groups.place], "proj")
    if memory.regions is not None:
        images, each, size = memory.regions.shape
        d = word_embedding_backward(drows[:, :first], (groups.image, (images, each, drows.shape[2])))
        project_backward(memory.regions.reshape(-1, size), d.reshape(-1, drows.shape[2]), "region")
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
    final: LayerNormCache
    attention: MultiHeadCache


Sublayer: TypeAlias = Callable[[Params, Array], tuple[Array, Any]]
SublayerBackward: TypeAlias = Callable[[Array, Any], tuple[Array, ...]]


def decoder_forward(
    p: Params,
    sizes: Sizes,
    x: Array,
    caption: Array,
    memory: Memory,
    rate: float,
    noise: Sequence[Array],
    positions: Array,
    save_for_backward: bool = True,
) -> tuple[Array, DecoderCache]:
    """Apply all layers to packed words; dropout applies to the output of each sublayer, with its rows of `noise`.

    Shapes: x (P, E), caption (P,) the caption of each row, below N, positions (P,) -> (P, E).
    """
    table, (memory_table, memory_bias) = group_table(caption, len(memory.image)), memory.attention(caption)
    layers, noises = [], iter(noise)

    def residual(i: int, w: Params, x: Array, sublayer: Sublayer) -> tuple[Array, Residual]:
        normed, norm = layer_norm_forward(x, w[f"gamma{i}"], w[f"beta{i}"])
        out, cache = sublayer(w, normed)
        mask = None
        if (drawn := next(noises, None)) is not None:
            out, mask = dropout_forward(out, rate, drawn[positions])
        out += x
        return out, Residual(cache, norm, mask)

    def attend_to_words(w: Params, x: Array) -> tuple[Array, MultiHeadCache]:
        weights = w["self_W"], w["self_b"], w["self_Wo"], w["self_bo"]
        return self_attention_forward(x, table, *weights, sizes.heads)

    def attend_to_memory(w: Params, x: Array) -> tuple[Array, MultiHeadCache]:
        weights = w["cross_W"], w["cross_b"], w["cross_Wo"], w["cross_bo"]
        return memory_attention_forward(x, memory.rows, memory_table, memory_bias, *weights, sizes.heads)

    def feed_forward(w: Params, x: Array) -> tuple[Array, FeedForwardCache]:
        weights = w["W1"], w["b1"], w["W2"], w["b2"]
        return feed_forward_forward(x, *weights, ACTIVATIONS[sizes.activation], save_for_backward)

    for layer in range(sizes.layers):
        w = layer_params(p, layer)
        x, of_words = residual(1, w, x, attend_to_words)
        x, of_memory = residual(2, w, x, attend_to_memory)
        x, of_feed_forward = residual(3, w, x, feed_forward)
        if save_for_backward:
            layers.append(LayerCache(of_words, of_memory, of_feed_forward))
    x, final = layer_norm_forward(x, p["gamma"], p["beta"])
    return x, DecoderCache(layers, memory, final, of_memory.sublayer)


def decoder_backward(dx: Array, cache: DecoderCache) -> tuple[Array, Params]:
    """Compute the gradients of `decoder_forward` and of `memory_forward`.

    dx = dout + norm'(f'(dout)) for each sublayer

    Shapes: dx (P, E) -> (P, E).
    """
    grads: Params = {}
    dmemory = np.zeros_like(cache.memory.rows)

    def residual(
        prefix: str, i: int, dout: Array, inner: Residual, backward: SublayerBackward, names: str
    ) -> tuple[Array, list[Array]]:
        """Store the gradients of the norm, and of the parameters `names` of the sublayer; return dx and the others."""
        dx, *others = backward(row_dropout_backward(dout, inner.mask), inner.sublayer)
        dx, dgamma, dbeta = layer_norm_backward(dx, inner.norm)
        dx += dout
        inputs = len(others) - len(names.split())
        grads.update((prefix + name, grad) for name, grad in zip(names.split(), others[inputs:], strict=True))
        grads[f"{prefix}gamma{i}"], grads[f"{prefix}beta{i}"] = dgamma, dbeta
        return dx, others[:inputs]

    dx, grads["gamma"], grads["beta"] = layer_norm_backward(dx, cache.final)
    for layer, inner in reversed(list(enumerate(cache.layers))):
        prefix = f"layer{layer}_"
        dx, _ = residual(prefix, 3, dx, inner.feed_forward, feed_forward_backward, "W1 b1 W2 b2")
        names = "cross_W cross_b cross_Wo cross_bo"
        dx, (of_memory,) = residual(prefix, 2, dx, inner.memory, memory_attention_backward, names)
        dmemory += of_memory
        dx, _ = residual(prefix, 1, dx, inner.words, self_attention_backward, "self_W self_b self_Wo self_bo")
    return dx, grads | memory_backward(dmemory, cache.memory)
