"""Render a scene as 64 x 64 RGB pixels: anti-aliased shapes, colour jitter, a grey background and noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array
from captioner.data.scenes.scene import SIDE, Scene, SceneObject

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
    """Render a scene.

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
