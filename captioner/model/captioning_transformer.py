"""CaptioningTransformer: a transformer decoder that attends to the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, SharedRows
from captioner.layers.attention import group_rows
from captioner.layers.blocked_matmul import InferenceMatrix
from captioner.layers.dropout import row_dropout_forward
from captioner.layers.feed_forward import ACTIVATIONS
from captioner.layers.layer_norm import layer_norm_forward
from captioner.layers.multi_head_attention import attend, caption_table, memory_projection
from captioner.layers.positions import positions_backward, positions_forward
from captioner.layers.softmax import log_softmax
from captioner.model.captioning_model import CaptioningModel
from captioner.model.interface import State
from captioner.model.parameters import Sizes
from captioner.model.teacher_forcing import Words
from captioner.model.transformer import DecoderCache, decoder_backward, decoder_forward, layer_params, memory_forward
from captioner.parallel.thread_pool import ThreadPool


class Cache(NamedTuple):
    scale: float
    decoder: DecoderCache


class CaptioningTransformer(CaptioningModel):
    """An image captioning model with a transformer decoder.

    x_t = sqrt(E) W_embed[word_t] + S[t];   h = layers(x_1, ..., x_t, memory)

    Each word attends to the words before it, and to the memory: the projected image feature, a learned null row, and
    with attention the projected regions of the image. See `captioner.model.transformer`.

    Source: Vaswani et al. 2017, "Attention Is All You Need".
    """

    shares_inputs = False

    def start(self, features: Array, regions: SharedRows | None = None) -> State:
        """Return the state before the first word: for each layer the keys and values of the words, then of the memory.

        Shapes: features (N, F) -> per layer (N, 0, 2 E), and N rows with values (N, T, 2 E).
        """
        memory = memory_forward(self.params, self._image(features), self._regions(regions))
        words, pairs = [], []
        for layer in range(self.sizes.layers):
            w = layer_params(self.params, layer)
            projected = memory_projection(memory.rows, w["cross_W"], w["cross_b"])
            words.append(np.empty((len(features), 0, projected.shape[1]), self.dtype))
            pairs.append(SharedRows.separate(projected[memory.slots]))
        return *words, *pairs

    def for_inference(self) -> InferenceTransformer:
        return InferenceTransformer(self.sizes, self.params)

    def _decode(
        self,
        words: Words,
        image: Array,
        regions: SharedRows | None,
        rng: np.random.Generator | None,
        save_for_backward: bool,
        pool: ThreadPool,
    ) -> tuple[Array, Cache]:
        if regions is not None:
            values = regions.values
            noise_rows = words.images.blocks(values.shape[1])
            rows, _ = row_dropout_forward(
                values.reshape(-1, values.shape[2]), self.dropout.regions, rng, noise_rows, pool
            )
            regions = SharedRows(rows.reshape(values.shape), regions.index)
        packing, memory = words.packing, memory_forward(self.params, image, regions, pool)
        x, scale = positions_forward(words.inputs, packing.time)
        arguments = x, caption_table(packing), memory, memory.slots[packing.order]
        noise = self.dropout.layers, rng, words.positions
        hidden, cache = decoder_forward(self.params, self.sizes, *arguments, *noise, save_for_backward, pool)
        return hidden, Cache(scale, cache)

    def _decode_backward(self, dhidden: Array, cache: Cache, pool: ThreadPool) -> tuple[Array, Params]:
        dx, grads = decoder_backward(dhidden, cache.decoder, pool)
        return positions_backward(dx, cache.scale), grads

    def _row_attention(self, cache: Cache) -> Array:
        """Return the mean weights of the heads of the last layer.

        The weights of the image feature and the null row are added.
        """
        weights = cache.decoder.attention.row_weights()
        return np.concatenate([weights[:, :-2], weights[:, -2:].sum(axis=1, keepdims=True)], axis=1)


class InferenceTransformer:
    """A copy of a transformer's weights, packed for repeated steps.

    It reuses output buffers, so each thread needs its own.
    """

    def __init__(self, sizes: Sizes, params: Params) -> None:
        self._sizes = sizes
        self._params = {name: w.copy() for name, w in params.items() if w.ndim == 1 or name == "W_embed"}
        self._W_vocab = InferenceMatrix(params["W_vocab"][None])
        self._layers = [_InferenceLayer(sizes, layer_params(params, layer)) for layer in range(sizes.layers)]

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Feed one word per caption and return the log-probabilities of the next, valid until the next call.

        Shapes: tokens (N,) ids, state arrays as the model's `start` returns them -> log_probs (N, V), state arrays.
        """
        p, count = self._params, self._sizes.layers
        words, memory = list(state[:count]), state[count:]
        x, _ = positions_forward(p["W_embed"][tokens], np.full(len(tokens), words[0].shape[1]))
        groups = _Groups(memory[0])
        for layer, weights in enumerate(self._layers):
            x, words[layer] = weights.step(x, words[layer], memory[layer].values, groups)
        if self._sizes.norm == "pre":
            x, _ = layer_norm_forward(x, p["gamma"], p["beta"])
        (scores,) = self._W_vocab.product(x)
        return log_softmax(scores, p["b_vocab"]), (*words, *memory)


class _Groups:
    """Rows grouped by the memory that they share, which is one row per memory while no beams share it."""

    def __init__(self, memory: SharedRows) -> None:
        self._groups = group_rows(memory.index, len(memory.values))
        self._are_single = np.array_equal(memory.index, np.arange(len(memory.values)))

    def attend(self, q: Array, pairs: Array, heads: int) -> Array:
        """Attend with each row to the keys and values of its memory.

        Shapes: q (N, E), pairs (M, T, 2 E) -> (N, E).
        """
        width, groups = q.shape[1], self._groups
        padded = q[:, None] if self._are_single else groups.pad(q[groups.rows])
        context, _ = attend(padded, pairs[..., :width], pairs[..., width:], heads)
        if self._are_single:
            return context[:, 0]
        out = np.empty_like(q)
        out[groups.rows] = groups.unpad(context)
        return out


class _InferenceLayer:
    """The weights of one layer."""

    def __init__(self, sizes: Sizes, w: Params) -> None:
        self._heads, self._is_pre, self._activation = sizes.heads, sizes.norm == "pre", ACTIVATIONS[sizes.activation]
        self._vectors = {name: a.copy() for name, a in w.items() if a.ndim == 1}
        matrices = {name: a for name, a in w.items() if a.ndim == 2} | {"cross_W": w["cross_W"][:, : sizes.hidden]}
        self._matrices = {name: InferenceMatrix(a[None]) for name, a in matrices.items()}

    def _affine(self, x: Array, weight: str, bias: str) -> Array:
        out: Array
        (out,) = self._matrices[weight].product(x)
        out += self._vectors[bias][: out.shape[1]]  # each matrix has its own buffer
        return out

    def step(self, x: Array, words: Array, memory: Array, groups: _Groups) -> tuple[Array, Array]:
        """Apply the layer to the last word of each caption, and append its key and value to those of the words.

        Shapes: x (N, E), words (N, t, 2 E), memory (M, T, 2 E) -> (N, E), (N, t + 1, 2 E).
        """
        width, count = x.shape[1], words.shape[1]
        extended = np.empty((len(x), count + 1, 2 * width), x.dtype)
        extended[:, :count] = words

        def attend_to_words(x: Array) -> Array:
            projected = self._affine(x, "self_W", "self_b")
            extended[:, count] = projected[:, width:]
            q, k, v = projected[:, None, :width], extended[..., :width], extended[..., width:]
            return self._affine(attend(q, k, v, self._heads)[0][:, 0], "self_Wo", "self_bo")

        def attend_to_memory(x: Array) -> Array:
            context = groups.attend(self._affine(x, "cross_W", "cross_b"), memory, self._heads)
            return self._affine(context, "cross_Wo", "cross_bo")

        def feed_forward(x: Array) -> Array:
            hidden = self._affine(x, "W1", "b1")
            self._activation(hidden, None)
            return self._affine(hidden, "W2", "b2")

        for i, sublayer in enumerate((attend_to_words, attend_to_memory, feed_forward), 1):
            norm = self._vectors[f"gamma{i}"], self._vectors[f"beta{i}"]
            if self._is_pre:
                x = x + sublayer(layer_norm_forward(x, *norm)[0])
            else:
                x, _ = layer_norm_forward(x + sublayer(x), *norm)
        return x, extended
