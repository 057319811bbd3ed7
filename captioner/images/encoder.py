"""Interface of image encoders: photograph -> model input -> feature vector, and features of regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # open_encoder reports a missing Pillow
    from PIL.Image import Image


class Encoder(Protocol):
    """An image encoder; `identity` contains everything that affects its features.

    All methods are thread-safe.
    """

    identity: str
    width: int
    """Feature dimension (F)."""
    side: int
    """Side of the square input, in pixels."""
    regions: tuple[int, int, int] | None
    """Rows and columns of the grid of regions, and the numbers per region (R); None for an encoder without regions."""

    def prepare(self, photo: Image) -> Any:
        """Resize, crop and scale one photograph to the model's input."""

    def encode(self, batch: Sequence[Any] | NDArray[Any]) -> NDArray[np.float32]:
        """Shapes: N prepared photographs -> features (N, F)."""

    def encode_with_regions(
        self, batch: Sequence[Any] | NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the features, and the regions in reading order from the same pass; None for an encoder without them.

        Shapes: N prepared photographs -> features (N, F), regions (N, L, R) with L = rows x columns.
        """
