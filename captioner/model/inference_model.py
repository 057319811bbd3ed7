"""A captioning model prepared for inference."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers.attention import attend
from captioner.layers.blocked_matmul import InferenceMatrix
from captioner.layers.cell import Cell, inference_step, split_gates
from captioner.layers.softmax import log_softmax
from captioner.model.interface import State

BLOCK = 32
"""Words whose input projections are computed together."""


class OutputLayer:
    """A copy of the output layer for repeated steps, with buffers for its results."""

    def __init__(self, W: Array, b: Array) -> None:
        self._W, self._b = InferenceMatrix(W[None]), b.copy()
        self._scores = np.empty((0, len(b)), W.dtype)

    def log_probs(self, hidden: Array) -> Array:
        """Compute log softmax(hidden W + b), in an array that the next call overwrites.

        Shapes: hidden (N, H), W (H, V), b (V,) -> (N, V).
        """
        (scores,) = self._W.product(hidden)
        if len(scores) > len(self._scores):
            self._scores = np.empty(scores.shape, scores.dtype)
        # Element-wise operations on rows without gaps take half the time.
        return log_softmax(scores, self._b, out=self._scores[: len(scores)])


class InferenceModel:
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
