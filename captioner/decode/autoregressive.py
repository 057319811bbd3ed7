"""The autoregressive loop of greedy decoding and sampling: one caption per row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.decode.constraints import Constraints
from captioner.model.interface import State, StepFunction, count_rows, take_rows

ChooseWords: TypeAlias = Callable[[Array, Array, int], Array]
"""`choose(log_probs (R, V), rows (R,), t)` -> next words (R,); `rows` are the indices of the unfinished captions."""


def autoregressive_loop(
    step: StepFunction,
    state: State,
    choose: ChooseWords,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    constraints: Constraints,
) -> tuple[Array, Array]:
    """Generate one caption per row until `<END>` or `max_length` words; finished captions leave the batch.

    Shapes: state arrays (R, ...) -> tokens (R, max_length) int32, log-probabilities (R,).
    """
    rows = count_rows(state)
    tokens = np.full((rows, max_length), null, np.int32)
    scores = np.zeros(rows)
    live = np.arange(rows)
    words = np.full(rows, start)
    for t in range(max_length):
        log_probs, state = step(words, state)
        constraints.apply(log_probs, tokens[live, :t], end)
        words = choose(log_probs, live, t)
        tokens[live, t] = words
        scores[live] += log_probs[np.arange(len(live)), words]
        unfinished = words != end
        if not unfinished.all():
            live, words, state = live[unfinished], words[unfinished], take_rows(state, unfinished)
        if not len(live):
            break
    return tokens, scores
