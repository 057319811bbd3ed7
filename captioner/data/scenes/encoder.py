"""A small fixed encoder of the pixels alone: nothing in it is learned, and it knows nothing of scenes or words.

It looks at the picture through 3 x 3 windows and glimpses, in reading order, at the first three that hold something
(a scene puts at most one thing into each ninth of the picture; one that lay across two windows would count twice).
Of each it tells where it is, its mean colour, and the moments of its outline, the latter two by tuning curves: numbers
that answer most to one value, as nerve cells do. So a *linear* map of the features can read colour and shape apart
from each other, in combinations that it never met.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array

ENCODER = "scenes-1"

SIDE = 64
GRID = 3
WINDOW = 22
BEFORE = 1
"""Rows and columns that the windows reach over the picture's upper left and lower right edge."""
GLIMPSES = 3
BATCH = 64

CORE = 12
"""Pixels that must stand out before a window holds something; fewer are a neighbour's rim, or noise."""
FAINT, PLAIN = np.float32(0.1), np.float32(0.2)
"""Distances from the ground at which a pixel is surely noise, and surely not."""
RIM = np.float32(0.375)
"""The share of the core's distance below which a pixel is ground."""

ORDERS = (2, 3, 4)
"""The harmonics of an outline: stretched, three-cornered, four-cornered."""
LATTICE = np.stack(np.meshgrid(*[np.linspace(0.1, 0.9, 3)] * 3), axis=-1).reshape(-1, 3).astype(np.float32)
LATTICE_WIDTH = np.float32(0.25)
KNOTS = np.linspace(-1, 1, 5, dtype=np.float32)
KNOT_WIDTH = np.float32(0.3)
GAIN = np.float32(3)
"""Makes the features about as large as a word vector's numbers, so that no standardisation is needed."""

ROW, COLUMN = np.indices((WINDOW, WINDOW), np.float32).reshape(2, -1)
TINY = np.float32(1e-3)

FEATURES = GLIMPSES * (1 + GRID * GRID + len(LATTICE) + len(KNOTS) * (2 + 2 * len(ORDERS)))


def encode(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe pictures by numbers from 0 to GAIN; a glimpse at nothing is all zeros.

    Shapes: images (M, 64, 64, 3) -> (M, 231).
    """
    features = np.empty((len(images), FEATURES), np.float32)
    for first in range(0, len(images), BATCH):
        features[first : first + BATCH] = encode_batch(images[first : first + BATCH])
    return features


def encode_batch(images: NDArray[np.uint8]) -> Array:
    count = len(images)
    rgb = np.moveaxis(images, 3, 0).astype(np.float32) / np.float32(255)
    ground = np.median(rgb[:, :, 2::4, 2::4].reshape(3, count, -1), axis=2)
    apart = windows(rgb - ground[:, :, None, None])
    distance = np.sqrt((apart * apart).sum(axis=0))
    core = np.partition(distance, -CORE, axis=1)[:, -CORE, None]
    held = ((core - FAINT) / (PLAIN - FAINT)).clip(0, 1)
    weight = ((distance / np.maximum(core, PLAIN) - RIM) / (1 - RIM)).clip(0, 1)
    colour = mean(apart, weight * weight).T + ground.T.repeat(GRID * GRID, axis=0)
    place = np.tile(np.eye(GRID * GRID, dtype=np.float32), (count, 1))
    codes = np.concatenate([np.ones_like(held), place, colour_code(colour), shape_code(weight)], axis=1)
    seen = (GAIN * held * codes).reshape(count, GRID * GRID, -1)
    empty = held.reshape(count, -1) < 0.5
    glimpses = np.argsort(empty, axis=1, kind="stable")[:, :GLIMPSES, None]
    features: Array = np.take_along_axis(seen, glimpses, axis=1).reshape(count, -1)
    return features


def windows(planes: Array) -> Array:
    """Shapes: planes (3, M, 64, 64) -> (3, 9 M, pixels of a window)."""
    after = GRID * WINDOW - SIDE - BEFORE
    padded = np.pad(planes, ((0, 0), (0, 0), (BEFORE, after), (BEFORE, after)))
    tiles = padded.reshape(3, -1, GRID, WINDOW, GRID, WINDOW).swapaxes(3, 4)
    return tiles.reshape(3, -1, WINDOW * WINDOW)


def mean(values: Array, weight: Array) -> Array:
    """The weighted mean over the pixels of each window."""
    average: Array = (values * weight).sum(axis=-1) / (weight.sum(axis=-1) + TINY)
    return average


def colour_code(colour: Array) -> Array:
    """How near a colour is to each of 27 on a lattice: exp(-½ |c - l|² / width²).

    Shapes: (K, 3) -> (K, 27).
    """
    off = (colour[:, None, :] - LATTICE) / LATTICE_WIDTH
    code: Array = np.exp(-0.5 * (off * off).sum(axis=2))
    return code


def shape_code(weight: Array) -> Array:
    """Size, spread and harmonics about the centre of weight, each by five tuning curves.

    z = (x - x̄) + i (y - ȳ);   r² = mean |z|²;   spread = 2π r² / area (1 for a disc);   harmonic k = mean zᵏ / rᵏ

    Shapes: (K, pixels) -> (K, 40).
    """
    x, y = (axis - mean(axis, weight)[:, None] for axis in (COLUMN, ROW))
    square = mean(x * x + y * y, weight)
    radius = np.sqrt(square) + np.float32(0.3)
    spread = 2 * np.pi * square / (weight.sum(axis=1) + TINY)
    # The shifts and factors lay what shapes of 4 to 9 pixels' radius can show over the knots' range.
    moments = [radius / 2 - 2, 2 * spread - 3]
    z = x + 1j * y
    power = z
    for k in ORDERS:
        power = power * z
        harmonic = mean(power, weight) / radius**k
        moments += [1.5 * harmonic.real, 1.5 * harmonic.imag]
    off = (np.stack(moments, axis=1)[:, :, None] - KNOTS) / KNOT_WIDTH
    code: Array = np.exp(-0.5 * off * off).reshape(len(weight), -1)
    return code
