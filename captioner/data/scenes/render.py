"""A scene -> 64 x 64 RGB pixels: anti-aliased shapes, uneven paint, a grey ground and noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array
from captioner.data.scenes.world import SIDE, Scene, Thing

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
"""The signed distance to the outline of a shape of radius 1: negative inside, in the unit of x and y."""


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint a scene.

    Shapes: (64, 64, 3) uint8.
    """
    picture = rng.standard_normal((SIDE, SIDE, 3), np.float32)
    picture *= NOISE
    ground = (rng.uniform(25, 75) + rng.uniform(-6, 6, 3)).astype(np.float32)
    picture += ground
    for thing in scene.things:
        paint(picture, thing, ground, rng)
    return picture.clip(0, 255).astype(np.uint8)


def paint(picture: Array, thing: Thing, ground: Array, rng: np.random.Generator) -> None:
    """Put one thing on the ground: its share of a pixel is how far the pixel lies inside the outline."""
    radius = RADIUS[thing.size] * rng.uniform(0.93, 1.07)
    colour = np.asarray(RGB[thing.colour]) * rng.uniform(0.85, 1.05) + rng.uniform(-10, 10, 3)
    rows, columns = (slice(max(0, int(centre - radius) - 1), int(centre + radius) + 2) for centre in (thing.y, thing.x))
    x, y = (AXIS[columns] - thing.x) / radius, (AXIS[rows] - thing.y) / radius
    share = (0.5 - radius * OUTLINES[thing.shape](x[None, :], y[:, None])).clip(0, 1)
    picture[rows, columns] += share[..., None] * (colour - ground).astype(np.float32)
