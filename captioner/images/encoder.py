"""What an image encoder is: a photograph -> numbers as the net takes them -> a vector of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:  # so that open_encoder can say that Pillow is missing
    from PIL.Image import Image


class Encoder(Protocol):
    """An encoder knows who it is: everything that changes its features is in `identity`.

    Both functions may be called by several threads at once.
    """

    identity: str
    width: int
    """Numbers in a feature vector (F)."""
    side: int
    """Pixels of a side of the square that it looks at."""

    def prepare(self, photo: Image) -> NDArray[Any]:
        """What the net takes of one photograph: its size, cut and scale are the encoder's own business."""

    def encode(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Shapes: N prepared photographs (N, ...) -> features (N, F) float32."""
