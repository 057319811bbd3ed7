"""CaptioningRNN: the image sets the initial state of a recurrent decoder, which predicts the caption; its inference.

With attention, hidden states attend to the regions of their images before the output layer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array, Batch, Params, SharedRows
from captioner.layers import CELLS
from captioner.layers.attention import (
    AttentionCache,
    KeysCache,
    attend,
    attention_backward,
    attention_forward,
    keys_backward,
    keys_forward,
)
from captioner.layers.blocked_matmul import InferenceMatrix
from captioner.layers.cell import Cell, inference_step, split_gates
from captioner.layers.dropout import row_dropout_backward, row_dropout_forward
from captioner.layers.scan import ScanCache, scan_backward, scan_forward
from captioner.model.captioning_model import CaptioningModel, State
from captioner.model.image_input import IMAGE_INPUTS, StartCache, start_backward, start_forward
from captioner.model.losses import OutputLayer
from captioner.model.parameters import ATTENTIONS, Sizes, recurrent_shapes
from captioner.model.words import Inputs, PackedWords
from captioner.parallel.thread_pool import SERIAL, ThreadPool


def hidden_attention(
    p: Params, hidden: Array, keys: SharedRows, pool: ThreadPool = SERIAL
) -> tuple[Array, AttentionCache]:
    """Let hidden states attend to keys.

    Shapes: hidden (P, H), keys of P rows -> (P, H).
    """
    return attention_forward(hidden, keys, p["W_query"], p["W_sentinel"], p["b_sentinel"], p["W_context"], pool)


class RegionsCache(NamedTuple):
    keys: KeysCache
    mask: Array | None
    attention: AttentionCache


class RecurrentCache(NamedTuple):
    start: StartCache
    scan: ScanCache
    attention: RegionsCache | None


class CaptioningRNN(CaptioningModel):
    """An image captioning model with a recurrent decoder.

    h0 = image W_proj + b_proj;   x_t = W_embed[word_t];   h_t = cell(x_t, h_{t-1})

    The image may also be an input of the cell (see `captioner.model.image_input`), and h_t may attend to the regions of
    the image before the output layer (see `captioner.layers.attention`). `params` has CS231n's names.

    Source: Vinyals et al. 2015, "Show and Tell"; CS231n, assignment 3 (the image as h0).
    """

    shapes = staticmethod(recurrent_shapes)

    @staticmethod
    def embed_divisor(sizes: Sizes) -> float:
        return 100.0

    @staticmethod
    def describe(sizes: Sizes) -> dict[str, str]:
        keys = f"{sizes.attention}, keys of {sizes.attention_dim} dimensions"
        return {
            "decoder": f"{sizes.decoder}, {sizes.hidden:,} units",
            "word embedding": f"{sizes.wordvec:,} dimensions",
            "image input": sizes.image,
            "attention": keys if sizes.attends else sizes.attention,
        }

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cell = CELLS[self.sizes.decoder]

    def start(self, features: Array, regions: SharedRows | None = None) -> State:
        """Return the state before the first word.

        Shapes: features (N, F) -> arrays (N, H), a context (N, G, H) for the image input `every`, and with attention
        the keys of the images as N rows with values (M, L, A).
        """
        image_input = IMAGE_INPUTS[self.sizes.image]
        state = start_forward(image_input, self.cell, self.params, self._image(features))[0]
        regions = self._regions(regions)
        if regions is None:
            return state
        keys, _ = keys_forward(regions.values, self.params["W_key"], self.params["b_key"])
        return *state, SharedRows(keys, regions.index)

    def for_inference(self) -> InferenceRNN:
        return InferenceRNN(self.cell, self.params, self.attends)

    def _decode(
        self,
        batch: Batch,
        words: PackedWords,
        inputs: Inputs,
        rng: np.random.Generator | None,
        save_for_backward: bool,
        pool: ThreadPool,
    ) -> tuple[Array, RecurrentCache]:
        p, packing, (vectors, ids, *_) = self.params, words.packing, inputs
        initial, start = start_forward(IMAGE_INPUTS[self.sizes.image], self.cell, p, batch.features, pool)
        weights = p["Wx"][: vectors.shape[1]], p["Wh"], p["b"]
        hidden, scan = scan_forward(self.cell, vectors, ids, initial, *weights, packing, save_for_backward, pool)
        attention = None
        if batch.regions is not None:
            keys, keys_cache = keys_forward(batch.regions.values, p["W_key"], p["b_key"], pool)
            keys, mask = row_dropout_forward(keys, self.dropout.keys, rng, words.images, pool)
            shared = SharedRows(keys, batch.regions.index[packing.caption])
            hidden, attention_cache = hidden_attention(p, hidden, shared, pool)
            attention = RegionsCache(keys_cache, mask, attention_cache)
        return hidden, RecurrentCache(start, scan, attention)

    def _decode_backward(self, dhidden: Array, cache: RecurrentCache, pool: ThreadPool) -> tuple[Array, Params]:
        grads: Params = {}
        if cache.attention is not None:
            keys, mask, attention = cache.attention
            dhidden, dkeys, *dparams = attention_backward(dhidden, attention, pool)
            dkeys = row_dropout_backward(dkeys, mask)
            grads = dict(zip(ATTENTIONS["adaptive"], (*keys_backward(dkeys, keys, pool), *dparams), strict=True))
        dinputs, dstart, dWx, dWh, db = scan_backward(self.cell, dhidden, cache.scan, pool)
        grads |= {"Wx": dWx, "Wh": dWh, "b": db}
        for name, grad in start_backward(dstart, cache.start, pool).items():
            # The image input may have a larger Wx: the scan uses its first rows.
            if name in grads:
                grad[: len(grads[name])] += grads[name]
            grads[name] = grad
        return dinputs, grads

    def _row_attention(self, cache: RecurrentCache) -> Array:
        assert cache.attention is not None
        return cache.attention.attention.weights


BLOCK = 32
"""Words whose input projections are computed together."""


class InferenceRNN:
    """A copy of a model's weights, packed for repeated steps, with a cache of input projections by word.

    It reuses output buffers, so each thread needs its own.
    """

    def __init__(self, cell: Cell, params: Params, attends: bool = False) -> None:
        self._cell = cell
        self._params = {name: params[name].copy() for name in ("W_embed", "b")}
        self._Wx = InferenceMatrix(split_gates(params["Wx"][: params["W_embed"].shape[1]], cell.gates))
        self._Wh = InferenceMatrix(split_gates(params["Wh"], cell.gates))
        self._output = OutputLayer(params["W_vocab"], params["b_vocab"])
        self._attends = attends
        if attends:
            self._b_sentinel = params["b_sentinel"].copy()
            self._W_queries = InferenceMatrix(np.stack([params["W_query"], params["W_sentinel"]]))
            self._W_context = InferenceMatrix(params["W_context"][None])
        vocab, hidden = len(params["W_embed"]), len(params["Wh"])
        self._projections = np.empty((cell.gates, vocab, hidden), params["Wh"].dtype)
        self._is_projected = np.zeros(vocab, bool)

    def _project(self, tokens: Array) -> None:
        """Compute the input projections x Wx + b of the words, by whole blocks of the vocabulary.

        The rounding of a product depends on its number of rows, so the projection of a word does not depend on the
        words that came before.
        """
        for first in np.unique(tokens // BLOCK * BLOCK).tolist():
            if not self._is_projected[first]:
                words = slice(first, first + BLOCK)
                ax = self._Wx.product(self._params["W_embed"][words])
                self._projections[:, words] = ax + self._params["b"].reshape(self._cell.gates, 1, -1)
                self._is_projected[words] = True

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Feed one word per caption and return the log-probabilities of the next, valid until the next call.

        Shapes: tokens (N,) ids, state arrays as the model's `start` returns them -> log_probs (N, V), state arrays.
        """
        if not self._is_projected[tokens].all():
            self._project(tokens)
        keys = state[-1:] if self._attends else ()
        state = inference_step(self._cell, self._projections, tokens, state[: len(state) - len(keys)], self._Wh)
        hidden = state[0]
        for shared in keys:
            _, context, _ = attend(self._W_queries.product(hidden), self._b_sentinel, shared)
            hidden = hidden + self._W_context.product(context)[0]
        return self._output.log_probs(hidden), (*state, *keys)
