"""What a decoder knows of a model: a step, and a state of which it can take rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from captioner.arrays import Array

State: TypeAlias = tuple[Any, ...]
"""Arrays with a row for every caption, or tuples of such arrays."""

StepFunction: TypeAlias = Callable[[Array, State], tuple[Array, State]]
"""Its log_probs are the decoder's to overwrite, until the next call."""


def take(state: State, rows: Array) -> State:
    """The rows of a state, by index or mask."""
    return tuple(take(part, rows) if isinstance(part, tuple) else part[rows] for part in state)


def count(state: State) -> int:
    """How many rows a state has."""
    first = state[0]
    return count(first) if isinstance(first, tuple) else len(first)
