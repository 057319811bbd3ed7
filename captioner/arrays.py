"""The array types of every signature, and the batch that training reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""An array whose shape and kind the docstring tells."""

Params: TypeAlias = dict[str, Array]
"""Arrays by name: the parameters of a model, or their gradients."""


class Batch(NamedTuple):
    """The captions of one training step, and what to record of them.

    With weights, the loss of caption n counts weights[n] times, and is no cross-entropy of the captions. `figures` are
    recorded with the step, by name.

    Shapes: features (N, F), captions (N, T), weights (N,).
    """

    features: Array
    captions: Array
    weights: Array | None = None
    figures: Mapping[str, float] = {}
