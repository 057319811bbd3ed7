"""A model laid out for decoding, and decoding with a team."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers.blocked_matmul import BlockedMatrix
from captioner.layers.cell import Cell, State, by_gate, project, read
from captioner.layers.softmax import log_softmax


class Reader:
    """What decoding needs of a model, as it was: weights laid out, and words projected when they are first read.

    It keeps what it has projected, and its last product: one reader is for one thread.
    """

    def __init__(self, cell: Cell, params: Params) -> None:
        self._cell = cell
        self._params = {name: params[name].copy() for name in ("W_embed", "Wx", "b", "b_vocab")}
        self._params["Wx"] = self._params["Wx"][: params["W_embed"].shape[1]]
        self._Wh = BlockedMatrix(by_gate(params["Wh"], cell.gates))
        self._W_vocab = BlockedMatrix(params["W_vocab"][None])
        vocab, hidden = len(params["W_embed"]), len(params["Wh"])
        self._projected = np.empty((cell.gates, vocab, hidden), params["Wh"].dtype)
        self._is_projected = np.zeros(vocab, bool)

    def step(self, tokens: Array, state: State) -> tuple[Array, State]:
        """Read one word of every caption and tell the log-probabilities of the next, which stand until the next call.

        Shapes: tokens (N,) ids, state arrays as the model's `start` gives -> log_probs (N, V), state arrays.
        """
        p = self._params
        new = np.unique(tokens[~self._is_projected[tokens]])
        self._projected[:, new] = project(self._cell, p["W_embed"][new], p["Wx"], p["b"])
        self._is_projected[new] = True
        state = read(self._cell, self._projected, tokens, state, self._Wh)
        (scores,) = self._W_vocab.product(state[0])
        return log_softmax(scores, p["b_vocab"], out=scores), state


class Steps(Protocol):
    """What tells the next words: a Reader. Its state is its own business."""

    def step(self, tokens: Array, state: tuple[Any, ...]) -> tuple[Array, tuple[Any, ...]]: ...


class Readable(Protocol):
    """What a decoder's images are given to: a CaptioningRNN."""

    def reader(self) -> Steps: ...
    def start(self, features: Array) -> tuple[Any, ...]: ...
