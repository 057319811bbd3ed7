"""Array types for all signatures, and the training batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""A NumPy array; the docstring of each function gives its shape and dtype."""

Params: TypeAlias = dict[str, Array]
"""Parameters of a model, or their gradients, by name."""


class Batch(NamedTuple):
    """The captions of one training step, with the metrics to record for it.

    `weights`, if given, multiply the loss of each caption: loss = 1/N Σ_n weights_n loss_n. `metrics` are named values
    recorded with the step.

    Shapes: features (N, F), captions (N, T), weights (N,).
    """

    features: Array
    captions: Array
    weights: Array | None = None
    metrics: Mapping[str, float] = {}
