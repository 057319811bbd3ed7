"""CaptioningTransformer: a transformer decoder that attends to the image."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params, SharedRows
from captioner.layers.dropout import row_dropout_forward
from captioner.layers.multi_head_attention import group_table, memory_projection
from captioner.layers.positions import positions_backward, positions_forward
from captioner.model.captioning_model import CaptioningModel
from captioner.model.inference_transformer import InferenceTransformer, KeyValueCache
from captioner.model.interface import State
from captioner.model.parameters import Shapes, Sizes, transformer_shapes
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

    @staticmethod
    def shapes(sizes: Sizes) -> Shapes:
        return transformer_shapes(sizes)

    @staticmethod
    def embed_divisor(sizes: Sizes) -> float:
        return math.sqrt(sizes.hidden)

    @staticmethod
    def describe(sizes: Sizes) -> dict[str, str]:
        return {
            "decoder": f"{sizes.decoder}, {sizes.layers} layers of width {sizes.hidden:,} with {sizes.heads} heads",
            "feed-forward layers": f"{sizes.feed_forward:,} dimensions, {sizes.activation}, {sizes.norm}-norm",
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
        packing, count = words.packing, len(image)
        memory = memory_forward(self.params, image, regions, np.bincount(packing.caption, minlength=count), pool)
        x, scale = positions_forward(words.inputs, packing.time)
        table = group_table(np.argsort(packing.order)[packing.caption], count)
        arguments = x, table, memory, *memory.attention(packing.caption)
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
        weights, first = cache.decoder.attention.row_weights(), cache.decoder.memory.columns.start
        return np.concatenate([weights[:, :first], weights[:, first:].sum(axis=1, keepdims=True)], axis=1)
