"""Interface of image encoders: photograph -> model input -> feature vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:  # open_encoder reports a missing Pillow
    from PIL.Image import Image


class Encoder(Protocol):
    """An image encoder; `identity` contains everything that affects its features.

    Both methods are thread-safe.
    """

    identity: str
    width: int
    """Feature dimension (F)."""
    side: int
    """Side of the square input, in pixels."""

    def prepare(self, photo: Image) -> NDArray[Any]:
        """Resize, crop and scale one photograph to the model's input."""

    def encode(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Shapes: N prepared photographs (N, ...) -> features (N, F) float32."""
