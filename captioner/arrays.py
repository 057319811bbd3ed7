"""The two array types of every signature."""

from __future__ import annotations

from typing import Any, TypeAlias

from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
"""An array whose shape and kind the docstring tells."""

Params: TypeAlias = dict[str, Array]
"""Arrays by name: the parameters of a model, or their gradients."""
