"""A model laid out for decoding, and decoding with a team."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers.blocked import RightFactor
from captioner.layers.cell import Cell, State, by_gate, project, read
from captioner.layers.softmax import log_softmax
from captioner.team import Team


class Reader:
    """What decoding needs of a model, as it was: weights laid out, and words projected when they are first read.

    It keeps what it has projected, and its last product: one reader is for one thread.
    """

    def __init__(self, cell: Cell, params: Params) -> None:
        self._cell = cell
        self._params = {name: params[name].copy() for name in ("W_embed", "Wx", "b", "b_vocab")}
        self._params["Wx"] = self._params["Wx"][: params["W_embed"].shape[1]]
        self._Wh = RightFactor(by_gate(params["Wh"], cell.gates))
        self._W_vocab = RightFactor(params["W_vocab"][None])
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


Decode: TypeAlias = Callable[..., tuple[Array, Array]]
"""A decoder with its options given: `step`, state and further row arrays -> tokens (N, K, T), scores (N, K)."""


class Steps(Protocol):
    """What tells the next words: a Reader. Its state is its own business."""

    def step(self, tokens: Array, state: tuple[Any, ...]) -> tuple[Array, tuple[Any, ...]]: ...


class Readable(Protocol):
    """What a decoder's images are given to: a CaptioningRNN."""

    def reader(self) -> Steps: ...
    def start(self, features: Array) -> tuple[Any, ...]: ...


def writer(model: Readable, team: Team) -> Callable[..., tuple[Array, Array]]:
    """A function from a decoder and images to their captions, by which a team writes: each member those of its share.

    What it is given besides the features, rows for rows, it hands on to the decoder. The model is laid out once for
    each member, not once for each call.

    Shapes: decode, features (N, F), ... -> tokens (N, K, T), scores (N, K).
    """
    readers: list[Steps] = []

    def write(decode: Decode, features: Array, *others: Array) -> tuple[Array, Array]:
        size = min(team.size, len(features))
        shares, *rest = (np.array_split(rows, size) for rows in (features, *others))
        readers.extend(model.reader() for _ in shares[len(readers) :])

        def work(member: int) -> tuple[Array, Array] | None:
            if member >= len(shares):
                return None
            own = (rows[member] for rows in rest)
            return decode(readers[member].step, model.start(shares[member]), *own)

        tokens, scores = zip(*filter(None, team.map(work)), strict=True)
        return np.concatenate(tokens), np.concatenate(scores)

    return write
