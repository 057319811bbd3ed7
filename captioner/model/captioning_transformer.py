"""CaptioningTransformer: a transformer decoder that attends to the image; its inference and key/value cache."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from captioner.arrays import Array, Batch, Params, SharedRows
from captioner.layers.attention import RowGroups, group_rows
from captioner.layers.blocked_matmul import InferenceMatrix
from captioner.layers.dropout import draw_noise
from captioner.layers.embedding import positions_backward, positions_forward
from captioner.layers.feed_forward import ACTIVATIONS, activate
from captioner.layers.layer_norm import layer_norm
from captioner.layers.multi_head_attention import dot_product_attention, memory_projection
from captioner.model.captioning_model import CaptioningModel, State
from captioner.model.losses import OutputLayer
from captioner.model.parameters import Sizes, transformer_shapes
from captioner.model.transformer import DecoderCache, decoder_backward, decoder_forward, layer_params, memory_forward
from captioner.model.words import Inputs, PackedWords
from captioner.parallel.thread_pool import ThreadPool


class ShardCache(NamedTuple):
    """The rows of a part of the captions, and the cache of its layers."""

    rows: slice
    decoder: DecoderCache


class CaptioningTransformer(CaptioningModel):
    """An image captioning model with a transformer decoder.

    x_t = sqrt(E) W_embed[word_t] + S[t];   h = layers(x_1, ..., x_t, memory)

    Each word attends to the words before it, and to the memory: the projected image feature, a learned null row, and
    with attention the projected regions of the image. See `captioner.model.transformer`.

    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """

    shares_inputs, groups_captions = False, True

    shapes = staticmethod(transformer_shapes)

    @staticmethod
    def embed_divisor(sizes: Sizes) -> float:
        return math.sqrt(sizes.hidden)

    @staticmethod
    def describe(sizes: Sizes) -> dict[str, str]:
        return {
            "decoder": f"{sizes.decoder}, {sizes.layers} layers of width {sizes.hidden:,} with {sizes.heads} heads",
            "feed-forward layers": f"{sizes.feed_forward:,} dimensions, {sizes.activation}, pre-norm",
            "memory": "image feature and regions" if sizes.attends else "image feature",
        }

    def start(self, features: Array, regions: SharedRows | None = None) -> State:
        """Return the state before the first word: the keys and values of all layers of no words, and of the memory.

        Shapes: features (N, F) -> a cache of N rows, and N rows with values (N, layers, T, 2 E).
        """
        memory = memory_forward(self.params, self._image(features), self._regions(regions), np.zeros(len(features)))
        cache = KeyValueCache.empty(self.sizes.layers, len(features), self.sizes.hidden, self.dtype)
        weights = [layer_params(self.params, layer) for layer in range(self.sizes.layers)]
        pairs = [memory.of_captions(memory_projection(memory.rows, w["cross_W"], w["cross_b"])) for w in weights]
        return cache, SharedRows.separate(np.stack(pairs, axis=1))

    def for_inference(self) -> InferenceTransformer:
        return InferenceTransformer(self.sizes, self.params)

    def _decode(
        self,
        batch: Batch,
        words: PackedWords,
        inputs: Inputs,
        rng: np.random.Generator | None,
        save_for_backward: bool,
        pool: ThreadPool,
    ) -> tuple[Array, list[ShardCache]]:
        """Each worker computes its captions through all layers, so threads meet once, and each row stays in a cache."""
        packing, rate, positions = words.packing, self.dropout.layers, words.positions
        hidden, noise = np.empty_like(inputs.vectors), []
        if rng is not None and rate:
            noise = [draw_noise((positions.total, hidden.shape[1]), rng) for _ in range(3 * self.sizes.layers)]
        place = np.argsort(packing.order)[packing.caption]
        lengths = np.bincount(packing.caption, minlength=len(batch.captions))

        def work(worker: int) -> ShardCache:
            rows, shard = packing.rows[worker], packing.shards[worker]
            captions, caption, of_images = packing.order[shard], place[rows] - shard.start, None
            if batch.regions is not None:
                images, index = np.unique(batch.regions.index[captions], return_inverse=True)
                of_images = SharedRows(batch.regions.values[images], index)
            memory = memory_forward(self.params, batch.features[captions], of_images, lengths[captions])
            x = positions_forward(inputs.vectors[rows], packing.time[rows])
            arguments = x, caption, memory, rate, noise, positions.rows[rows]
            hidden[rows], cache = decoder_forward(self.params, self.sizes, *arguments, save_for_backward)
            return ShardCache(rows, cache)

        return hidden, pool.map(work)

    def _decode_backward(self, dhidden: Array, cache: list[ShardCache], pool: ThreadPool) -> tuple[Array, Params]:
        dinputs = np.empty_like(dhidden)

        def work(worker: int) -> list[Params]:
            grads = []
            for rows, decoder in cache[worker :: pool.size]:
                dx, of_shard = decoder_backward(dhidden[rows], decoder)
                dinputs[rows] = positions_backward(dx)
                grads.append(of_shard)
            return grads

        total, *others = itertools.chain(*pool.map(work))
        names = sorted(total, key=lambda name: -total[name].size)

        def add(worker: int) -> None:
            for name in names[worker :: pool.size]:
                for grads in others:
                    total[name] += grads[name]

        pool.map(add)
        return dinputs, total

    def _row_attention(self, cache: list[ShardCache]) -> Array:
        """Return the mean weights of the heads of the last layer.

        The weights of the image feature and the null row are added.
        """
        weights = []
        for _, decoder in cache:
            of_rows, first = decoder.attention.row_weights(), decoder.memory.columns.start
            summed = of_rows[:, first:].sum(axis=1, keepdims=True)
            weights.append(np.concatenate([of_rows[:, :first], summed], axis=1))
        return np.concatenate(weights)


SPARE_POSITIONS = 32
"""Positions per group for which a key/value cache has room when it is copied."""


@dataclass
class Positions:
    """Keys and values of all layers; the first `used` positions of each group belong to states.

    Shapes: values (layers, G, capacity, 2 E).
    """

    values: Array
    used: int = 0


@dataclass(frozen=True)
class KeyValueCache:
    """The keys and values of the `steps` earlier words of N captions, in groups of captions with a common beginning.

    The beams of an image are a group. Each step appends a position per beam, and the mask of a beam has the positions
    of its words. So selecting beams copies no keys and values. They are copied when no position is free, without those
    that belong to no beam, or when a quarter of the groups has no caption left.

    Shapes: group (N,) below G, mask (N, S), the first S positions of the groups.
    Source: Miao et al. 2023, "SpecInfer", section 4 (attention over a tree of words).
    """

    positions: Positions
    group: Array
    mask: Array
    steps: int

    @classmethod
    def empty(cls, layers: int, count: int, width: int, dtype: DTypeLike) -> KeyValueCache:
        """Return the cache of captions without words."""
        positions = Positions(np.empty((layers, count, 0, 2 * width), dtype))
        return cls(positions, np.arange(count), np.empty((count, 0), bool), 0)

    def __len__(self) -> int:
        return len(self.group)

    def __getitem__(self, rows: Array) -> KeyValueCache:
        if self.steps:
            return KeyValueCache(self.positions, self.group[rows], self.mask[rows], self.steps)
        layers, _, _, pair = self.positions.values.shape
        return self.empty(layers, len(self.group[rows]), pair // 2, self.positions.values.dtype)

    def with_next_word(self) -> tuple[KeyValueCache, RowGroups]:
        """Return a cache with an unwritten position for the next word of each caption, and its groups.

        The cache of the words before stays valid: only positions that belong to no state are written.
        """
        positions, group, mask, used = self.positions, self.group, self.mask, self.mask.shape[1]
        _, count, capacity, _ = positions.values.shape
        groups = group_rows(group, count)
        in_use = np.count_nonzero(np.diff(groups.bounds))
        if positions.used != used or used + groups.width > capacity or 4 * in_use <= 3 * count:
            positions, group, mask = self._copied(groups)
            groups, used = group_rows(group, positions.values.shape[1]), positions.used
        positions.used += groups.width
        extended = np.zeros((len(group), positions.used), bool)
        extended[:, :used] = mask
        extended[groups.rows, used + groups.place % groups.width] = True
        return KeyValueCache(positions, group, extended, self.steps + 1), groups

    def _copied(self, groups: RowGroups) -> tuple[Positions, Array, Array]:
        """Copy the positions that belong to captions, with room for more; return also `group` and `mask` for them."""
        values = self.positions.values
        layers, _, _, pair = values.shape
        kept, group = np.unique(self.group, return_inverse=True)
        is_live: Array = groups.pad(self.mask[groups.rows])[kept].any(axis=1)
        live = int(is_live.sum(axis=1).max(initial=0))
        order = np.argsort(~is_live, axis=1, kind="stable")[:, :live]
        copy = np.empty((layers, len(kept), live + max(groups.width, SPARE_POSITIONS), pair), values.dtype)
        for before, after in zip(values, copy, strict=True):
            after[:, :live] = before[kept[:, None], order]
        return Positions(copy, live), group, np.take_along_axis(self.mask, order[group], axis=1)


class GroupAttention:
    """Attention of rows in groups: each row attends to the keys and values of its group, or to those allowed to it.

    Shapes: is_allowed (N, T).
    """

    def __init__(self, groups: RowGroups, dtype: DTypeLike, is_allowed: Array | None = None) -> None:
        self._groups, self._bias = groups, None
        is_single = groups.width == 1 and len(groups.rows) == len(groups.bounds) - 1  # a group may have no row
        self._is_single = is_single and np.array_equal(groups.rows, groups.place)
        if is_allowed is not None and not is_allowed.all():
            self._bias = groups.pad(np.where(is_allowed, 0, -np.inf).astype(dtype)[groups.rows])[:, None]

    def pad(self, x: Array) -> Array:
        """Return the rows of each group, then zeros.

        Shapes: x (N, D) -> (G, width, D).
        """
        return x[:, None] if self._is_single else self._groups.pad(x[self._groups.rows])

    def attend(self, q: Array, pairs: Array, heads: int) -> Array:
        """Attend with each row to the keys and values of its group.

        Shapes: q (N, E), pairs (G, T, 2 E) -> (N, E).
        """
        width = q.shape[1]
        context, _ = dot_product_attention(self.pad(q), pairs[..., :width], pairs[..., width:], heads, self._bias)
        if self._is_single:
            return context[:, 0]
        out = np.empty_like(q)
        out[self._groups.rows] = self._groups.unpad(context)
        return out


class InferenceTransformer:
    """A copy of a transformer's weights, packed for repeated steps.

    It reuses output buffers, so each thread needs its own.
    """

    def __init__(self, sizes: Sizes, params: Params) -> None:
        self._W_embed = params["W_embed"].copy()
        self._vectors = {name: w.copy() for name, w in params.items() if name in ("gamma", "beta")}
        self._output = OutputLayer(params["W_vocab"], params["b_vocab"])
        self._layers = [_InferenceLayer(sizes, layer_params(params, layer)) for layer in range(sizes.layers)]

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Feed one word per caption and return the log-probabilities of the next, valid until the next call.

        Shapes: tokens (N,) ids, a state of N rows as the model's `start` returns it -> log_probs (N, V), state.
        """
        words: KeyValueCache = state[0]
        memory: SharedRows = state[1]
        x = positions_forward(self._W_embed[tokens], np.full(len(tokens), words.steps))
        words, groups = words.with_next_word()
        used = words.positions.used - groups.width
        attention = GroupAttention(groups, x.dtype, words.mask)
        memory_attention = GroupAttention(group_rows(memory.index, len(memory.values)), x.dtype)
        for layer, weights in enumerate(self._layers):
            pairs = words.positions.values[layer, :, : words.positions.used]
            x = weights.step(x, pairs, used, attention, memory.values[:, layer], memory_attention)
        x = layer_norm(x, self._vectors["gamma"], self._vectors["beta"])
        return self._output.log_probs(x), (words, memory)


class _InferenceLayer:
    """The weights of one layer."""

    def __init__(self, sizes: Sizes, w: Params) -> None:
        self._heads, self._activation = sizes.heads, ACTIVATIONS[sizes.activation]
        self._vectors = {name: a.copy() for name, a in w.items() if a.ndim == 1}
        matrices = {name: a for name, a in w.items() if a.ndim == 2} | {"cross_W": w["cross_W"][:, : sizes.hidden]}
        self._matrices = {name: InferenceMatrix(a[None]) for name, a in matrices.items()}

    def _product(self, x: Array, weight: str) -> Array:
        out: Array
        (out,) = self._matrices[weight].product(x)  # each matrix has its own buffer
        return out

    def _affine(self, x: Array, weight: str, bias: str) -> Array:
        out = self._product(x, weight)
        out += self._vectors[bias][: out.shape[1]]
        return out

    def step(
        self,
        x: Array,
        pairs: Array,
        used: int,
        attention: GroupAttention,
        memory: Array,
        memory_attention: GroupAttention,
    ) -> Array:
        """Apply the layer to the last word of each caption, and write its key and value after the `used` positions.

        Shapes: x (N, E), pairs (G, S, 2 E) of the words, memory (M, T, 2 E) -> (N, E).
        """
        width = x.shape[1]

        def attend_to_words(x: Array) -> Array:
            projected = self._affine(x, "self_W", "self_b")
            pairs[:, used:] = attention.pad(projected[:, width:])
            context = attention.attend(projected[:, :width], pairs, self._heads)
            return self._affine(context, "self_Wo", "self_bo")

        def attend_to_memory(x: Array) -> Array:
            context = memory_attention.attend(self._affine(x, "cross_W", "cross_b"), memory, self._heads)
            return self._affine(context, "cross_Wo", "cross_bo")

        def feed_forward(x: Array) -> Array:
            hidden = self._product(x, "W1")
            activate(hidden, self._vectors["b1"], self._activation)
            return self._affine(hidden, "W2", "b2")

        for i, sublayer in enumerate((attend_to_words, attend_to_memory, feed_forward), 1):
            x += sublayer(layer_norm(x, self._vectors[f"gamma{i}"], self._vectors[f"beta{i}"]))
        return x
