"""The interface between models and decoding methods: step functions and their states."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from captioner.arrays import Array, Batch, SharedRows
from captioner.parallel.thread_pool import SERIAL, ThreadPool

State: TypeAlias = tuple[Any, ...]
"""The state of a batch of captions: arrays or `SharedRows` with one row per caption, or nested tuples of them."""

StepFunction: TypeAlias = Callable[[Array, State], tuple[Array, State]]
"""`step(tokens (N,), state) -> log_probs (N, V), state`; the caller may overwrite log_probs, until the next call."""


class StepModel(Protocol):
    """A model prepared for inference."""

    def step(self, tokens: Array, state: State, /) -> tuple[Array, State]: ...


class ModelOrEnsemble(Protocol):
    """A CaptioningModel or an ensemble."""

    @property
    def parameter_count(self) -> int: ...
    @property
    def attends(self) -> bool: ...
    def start(self, features: Array, regions: SharedRows | None = None) -> State: ...
    def for_inference(self) -> StepModel: ...
    def word_losses(self, batch: Batch, pool: ThreadPool = SERIAL) -> Array: ...
    def attention_weights(self, batch: Batch, pool: ThreadPool = SERIAL) -> Array: ...


def take_rows(state: State, rows: Array) -> State:
    """Select rows of a state by index or mask."""
    return tuple(take_rows(part, rows) if isinstance(part, tuple) else part[rows] for part in state)


def count_rows(state: State) -> int:
    """Return the number of rows of a state."""
    first = state[0]
    return count_rows(first) if isinstance(first, tuple) else len(first)
