"""Composite encoders: the mean over an image and its mirror image, and the features of several encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageOps
from PIL.Image import Image

from captioner.images.encoder import Encoder
from captioner.images.photo import square

HALF = np.float32(0.5)


class MirroredEncoder:
    """The mean of an encoder's features of the image and of its mirror image; the regions are those of the image."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.identity = f"{encoder.identity}:mirror"
        self.width, self.side, self.regions = encoder.width, encoder.side, encoder.regions

    def prepare(self, photo: Image) -> Any:
        pixels = square(photo, self.side)
        return self._encoder.prepare(pixels), self._encoder.prepare(ImageOps.mirror(pixels))

    def encode(self, batch: Sequence[Any] | NDArray[Any]) -> NDArray[np.float32]:
        return self.encode_with_regions(batch)[0]

    def encode_with_regions(
        self, batch: Sequence[Any] | NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        images, mirrored = zip(*batch, strict=True)
        features, regions = self._encoder.encode_with_regions(images)
        return HALF * features + HALF * self._encoder.encode(mirrored), regions


class ConcatenatedEncoder:
    """The features of several encoders, concatenated in order; the regions are those of the first that has any."""

    def __init__(self, parts: Sequence[Encoder]) -> None:
        self._parts = parts
        self.identity = "+".join(part.identity for part in parts)
        self.width = sum(part.width for part in parts)
        self.side = max(part.side for part in parts)
        self.regions = next((part.regions for part in parts if part.regions), None)

    def prepare(self, photo: Image) -> Any:
        return [part.prepare(photo) for part in self._parts]

    def encode(self, batch: Sequence[Any] | NDArray[Any]) -> NDArray[np.float32]:
        return self.encode_with_regions(batch)[0]

    def encode_with_regions(
        self, batch: Sequence[Any] | NDArray[Any]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        inputs = zip(*batch, strict=True)
        found = [part.encode_with_regions(one) for part, one in zip(self._parts, inputs, strict=True)]
        regions = next((regions for _, regions in found if regions is not None), None)
        return np.concatenate([features for features, _ in found], axis=1), regions
