"""Sample and render scenes: one to three objects in a square, each with a shape, a colour, a size and a position.

Lengths are in pixels of an image SIDE pixels wide; x grows to the right and y downwards.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array

SIDE = 64
CELL = SIDE / 3
JITTER = 2.0
"""The maximum offset of an object from the centre of its cell, in x and y."""

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SIZES = ("large", "small")

HELD_OUT = (
    ("red", "cross"),
    ("orange", "diamond"),
    ("yellow", "ring"),
    ("green", "circle"),
    ("blue", "triangle"),
    ("purple", "square"),
)
"""Combinations that only the split `heldout` contains, one of every shape: each colour and shape occurs in train."""
COMBINATIONS = tuple(pair for pair in product(COLOURS, SHAPES) if pair not in HELD_OUT)

SPLITS = ("train", "val", "test", "heldout")
BUCKETS = ("val", "test", *("train",) * 8)
"""Splits by the CRC-32 of a description: 10% val, 10% test, 80% train."""


@dataclass(frozen=True)
class SceneObject:
    """One shape, centred at (x, y)."""

    shape: str
    colour: str
    size: str
    x: float
    y: float

    @property
    def row(self) -> int:
        """The third of the image that contains the centre, from the top: 0, 1 or 2."""
        return int(self.y // CELL)

    @property
    def column(self) -> int:
        """The third of the image that contains the centre, from the left: 0, 1 or 2."""
        return int(self.x // CELL)


@dataclass(frozen=True)
class Scene:
    """One to three objects in reading order, in distinct cells and with distinct combinations of shape and colour."""

    objects: tuple[SceneObject, ...]

    def description(self) -> str:
        """Describe a scene without the jitter of positions: scenes with equal descriptions look alike."""
        return "; ".join(f"{t.size} {t.colour} {t.shape} {t.row} {t.column}" for t in self.objects)


def split_of(scene: Scene) -> str:
    """Return the split of a scene; all scenes with one description are in the same split."""
    if any((t.colour, t.shape) in HELD_OUT for t in scene.objects):
        return "heldout"
    return BUCKETS[zlib.crc32(scene.description().encode()) % len(BUCKETS)]


def sample_scene(rng: np.random.Generator, split: str) -> Scene:
    """Sample scenes until one belongs to the split."""
    while split_of(scene := sample_unfiltered(rng, held_out=split == "heldout")) != split:
        pass
    return scene


def sample_unfiltered(rng: np.random.Generator, *, held_out: bool) -> Scene:
    """Sample one to three objects; with `held_out`, one of them has a held-out combination."""
    count = int(rng.integers(1, 4))
    pairs = [COMBINATIONS[i] for i in rng.permutation(len(COMBINATIONS))[:count]]
    if held_out:
        pairs[rng.integers(count)] = HELD_OUT[rng.integers(len(HELD_OUT))]
    cells = sorted(rng.permutation(9)[:count].tolist())
    offsets = rng.uniform(-JITTER, JITTER, (count, 2)).tolist()
    sizes = rng.integers(len(SIZES), size=count).tolist()
    return Scene(
        tuple(
            SceneObject(shape, colour, SIZES[size], (cell % 3 + 0.5) * CELL + dx, (cell // 3 + 0.5) * CELL + dy)
            for (colour, shape), size, cell, (dx, dy) in zip(pairs, sizes, cells, offsets, strict=True)
        )
    )


RGB = {
    "red": (215, 35, 35),
    "orange": (245, 135, 25),
    "yellow": (240, 225, 50),
    "green": (45, 165, 60),
    "blue": (45, 85, 220),
    "purple": (130, 55, 170),
    "pink": (250, 145, 190),
    "white": (245, 245, 245),
}
RADIUS = {"large": 8.0, "small": 5.0}
NOISE = np.float32(6)
AXIS = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
OUTLINES: dict[str, Callable[[Array, Array], Array]] = {
    "circle": lambda x, y: np.hypot(x, y) - 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.88,
    "triangle": lambda x, y: np.maximum(y - 0.75, 0.866 * abs(x) - 0.5 * y - 0.45),
    "diamond": lambda x, y: 0.707 * (abs(x) + abs(y) - 1.1),
    "cross": lambda x, y: np.maximum(np.maximum(abs(x), abs(y)) - 1, np.minimum(abs(x), abs(y)) - 0.33),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.74) - 0.26,
}
"""Signed distance functions of shapes of radius 1, negative inside."""


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a scene with anti-aliased shapes, colour jitter, a grey background and noise.

    Shapes: (64, 64, 3) uint8.
    """
    picture = rng.standard_normal((SIDE, SIDE, 3), np.float32)
    picture *= NOISE
    background = (rng.uniform(25, 75) + rng.uniform(-6, 6, 3)).astype(np.float32)
    picture += background
    for obj in scene.objects:
        paint(picture, obj, background, rng)
    return picture.clip(0, 255).astype(np.uint8)


def paint(picture: Array, obj: SceneObject, background: Array, rng: np.random.Generator) -> None:
    """Draw one object on the background, with alpha from the signed distance of each pixel to the outline."""
    radius = RADIUS[obj.size] * rng.uniform(0.93, 1.07)
    colour = np.asarray(RGB[obj.colour]) * rng.uniform(0.85, 1.05) + rng.uniform(-10, 10, 3)
    rows, columns = (slice(max(0, int(centre - radius) - 1), int(centre + radius) + 2) for centre in (obj.y, obj.x))
    x, y = (AXIS[columns] - obj.x) / radius, (AXIS[rows] - obj.y) / radius
    alpha = (0.5 - radius * OUTLINES[obj.shape](x[None, :], y[:, None])).clip(0, 1)
    picture[rows, columns] += alpha[..., None] * (colour - background).astype(np.float32)
