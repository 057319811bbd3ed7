"""Decoding: from a model that tells the next word's log-probabilities to whole captions.

A decoder knows the model only as `step(tokens, state) -> log_probs, state`, where a state is a tuple of row arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from captioner.arrays import Array

State = tuple[Array, ...]
StepFunction = Callable[[Array, State], tuple[Array, State]]


def greedy(
    step: StepFunction,
    state: State,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    banned: Sequence[int] = (),
) -> tuple[Array, Array]:
    """Take the likeliest word at every step, until `<END>` or `max_length` words.

    word_t = argmax over the words that are not banned of log P(word | words before);   score = Σ_t log P(word_t)

    A caption leaves the batch at its `<END>`; after it stands nothing but `<NULL>`. The score counts `<END>`.

    Shapes: state arrays (N, H) -> tokens (N, 1, max_length) int32, scores (N, 1).
    """
    count = len(state[0])
    tokens = np.full((count, 1, max_length), null, np.int32)
    scores = np.zeros((count, 1))
    live = np.arange(count)
    words = np.full(count, start)
    for t in range(max_length):
        log_probs, state = step(words, state)
        allowed = log_probs.copy() if banned else log_probs
        allowed[:, list(banned)] = -np.inf
        words = allowed.argmax(axis=1)
        tokens[live, 0, t] = words
        scores[live, 0] += log_probs[np.arange(len(live)), words]
        going = words != end
        if not going.all():
            live, words, state = live[going], words[going], tuple(rows[going] for rows in state)
        if not len(live):
            break
    return tokens, scores
