"""Greedy decoding."""

from __future__ import annotations

from captioner.arrays import Array
from captioner.decode.autoregressive import autoregressive_loop
from captioner.decode.constraints import UNCONSTRAINED, Constraints
from captioner.model.interface import State, StepFunction


def greedy(
    step: StepFunction,
    state: State,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    constraints: Constraints = UNCONSTRAINED,
) -> tuple[Array, Array]:
    """Decode greedily: choose the most probable word at each step, until `<END>` or `max_length` words.

    word_t = argmax over the allowed words of log P(word | words before);   score = Σ_t log P(word_t)

    The score includes `<END>`; tokens after it are `<NULL>`. Finished captions leave the batch.

    Shapes: state arrays (N, ...) -> tokens (N, 1, max_length) int32, scores (N, 1).
    """
    tokens, scores = autoregressive_loop(
        step, state, _argmax, start=start, end=end, null=null, max_length=max_length, constraints=constraints
    )
    return tokens[:, None], scores[:, None]


def _argmax(log_probs: Array, rows: Array, t: int) -> Array:
    words: Array = log_probs.argmax(axis=1)
    return words
