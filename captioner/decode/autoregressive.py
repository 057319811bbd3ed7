"""One caption a row, word by word: the loop of greedy decoding and of sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.decode.constraints import Constraints
from captioner.model.state import State, StepFunction, count, take

Choose: TypeAlias = Callable[[Array, Array, int], Array]
"""The next words (R,) from log_probs (R, V), the numbers (R,) of the rows that go on, and the time."""


def autoregressive_loop(
    step: StepFunction,
    state: State,
    choose: Choose,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    constraints: Constraints,
) -> tuple[Array, Array]:
    """Take the chosen word at every step, until `<END>` or `max_length` words; a caption leaves the batch at `<END>`.

    Shapes: state arrays (R, ...) -> tokens (R, max_length) int32, log-probabilities (R,).
    """
    rows = count(state)
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
        going = words != end
        if not going.all():
            live, words, state = live[going], words[going], take(state, going)
        if not len(live):
            break
    return tokens, scores
