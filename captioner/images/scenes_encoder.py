"""The encoder of the generated scenes, for 64 x 64 pixels, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from captioner.data.scenes.encoder import ENCODER, FEATURES, GRID, REGION, SIDE, encode_regions, first_objects
from captioner.errors import UsageError
from captioner.images.encoder import Encoder
from captioner.images.photo import square


class ScenesEncoder:
    identity = ENCODER
    width = FEATURES
    side = SIDE
    regions: tuple[int, int, int] | None = (GRID, GRID, REGION)

    def prepare(self, photo: Image) -> NDArray[np.uint8]:
        return np.asarray(square(photo, SIDE))

    def encode(self, batch: Sequence[Any] | NDArray[Any]) -> NDArray[np.float32]:
        return self.encode_with_regions(batch)[0]

    def encode_with_regions(
        self, batch: Sequence[Any] | NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        codes = encode_regions(np.asarray(batch))
        return first_objects(codes), codes


def open_scenes(name: str, file: str, options: Mapping[str, str]) -> Encoder:
    """Open the encoder `scenes`.

    Raises: UsageError for options.
    """
    if options:
        raise UsageError(f"encoder {name}: option {min(options)}: unknown; expected mirror")
    return ScenesEncoder()
