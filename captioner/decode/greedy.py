"""Greedy decoding: the likeliest word at every step."""

from __future__ import annotations

from captioner.arrays import Array
from captioner.decode.autoregressive import autoregressive_loop
from captioner.decode.constraints import FREE, Constraints
from captioner.model.state import State, StepFunction


def greedy(
    step: StepFunction,
    state: State,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    constraints: Constraints = FREE,
) -> tuple[Array, Array]:
    """Take the likeliest word at every step, until `<END>` or `max_length` words.

    word_t = argmax over the words that may come of log P(word | words before);   score = Σ_t log P(word_t)

    A caption leaves the batch at its `<END>`; after it stands nothing but `<NULL>`. The score counts `<END>`.

    Shapes: state arrays (N, ...) -> tokens (N, 1, max_length) int32, scores (N, 1).
    """
    tokens, scores = autoregressive_loop(
        step, state, _likeliest, start=start, end=end, null=null, max_length=max_length, constraints=constraints
    )
    return tokens[:, None], scores[:, None]


def _likeliest(log_probs: Array, live: Array, t: int) -> Array:
    words: Array = log_probs.argmax(axis=1)
    return words
