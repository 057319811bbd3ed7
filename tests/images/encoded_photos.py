"""Photographs and an encoder for tests."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

F4, F2 = np.dtype(np.float32), np.dtype(np.float16)


class Colours:
    """An encoder whose features are the mean colour; it counts encoded images."""

    identity = "colours"
    width = 3
    side = 2
    regions = None

    def __init__(self) -> None:
        self.calls = 0
        self.gate: Callable[[Any], object] = lambda photo: None

    def prepare(self, photo: Image.Image) -> Any:
        self.gate(photo)
        return np.asarray(photo, np.float32)

    def encode(self, prepared: Any) -> Any:
        self.calls += 1
        return prepared.mean(axis=(0, 1)), None


def write(folder: Path, count: int) -> list[Path]:
    """Photographs, the i-th of colour (i, 0, 2 i)."""
    paths = [folder / f"{i:02}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.new("RGB", (3, 2), (i, 0, 2 * i)).save(path)
    return paths


def digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
