"""What there is to see: one to three things in a square, each with a shape, a colour, a size and a place.

Lengths are in pixels of a picture SIDE pixels wide; x grows to the right and y downwards.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np

SIDE = 64
CELL = SIDE / 3
JITTER = 2.0
"""How far a thing may lie from the middle of its part of the picture, across and down."""

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "ring")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
SIZES = ("large", "small")

UNSEEN = (
    ("red", "cross"),
    ("orange", "diamond"),
    ("yellow", "ring"),
    ("green", "circle"),
    ("blue", "triangle"),
    ("purple", "square"),
)
"""Combinations that only the split `heldout` shows: one of every shape, so that each part is well known."""
SEEN = tuple(pair for pair in product(COLOURS, SHAPES) if pair not in UNSEEN)

SPLITS = ("train", "val", "test", "heldout")
BUCKETS = ("val", "test", *("train",) * 8)
"""The split of a description, by its checksum: a tenth each for val and test."""


@dataclass(frozen=True)
class Thing:
    """One shape, centred at (x, y)."""

    shape: str
    colour: str
    size: str
    x: float
    y: float

    @property
    def row(self) -> int:
        """0, 1 or 2: the upper, middle or lower third of the picture, by the centre."""
        return int(self.y // CELL)

    @property
    def column(self) -> int:
        """0, 1 or 2: the left, middle or right third of the picture, by the centre."""
        return int(self.x // CELL)


@dataclass(frozen=True)
class Scene:
    """One to three things in reading order, no two of one shape and colour, no two in one part of the picture."""

    things: tuple[Thing, ...]

    def description(self) -> str:
        """What is there but for the jitter of places: scenes described alike look alike."""
        return "; ".join(f"{t.size} {t.colour} {t.shape} {t.row} {t.column}" for t in self.things)


def split_of(scene: Scene) -> str:
    """The one split that may hold a scene: a description is never in two of them."""
    if any((t.colour, t.shape) in UNSEEN for t in scene.things):
        return "heldout"
    return BUCKETS[zlib.crc32(scene.description().encode()) % len(BUCKETS)]


def draw_scene(rng: np.random.Generator, split: str) -> Scene:
    """Draw scenes until one belongs to the split."""
    while split_of(scene := draw_any(rng, held_out=split == "heldout")) != split:
        pass
    return scene


def draw_any(rng: np.random.Generator, *, held_out: bool) -> Scene:
    """Draw one to three things; with `held_out`, one of them has a combination that no other split shows."""
    count = int(rng.integers(1, 4))
    pairs = [SEEN[i] for i in rng.permutation(len(SEEN))[:count]]
    if held_out:
        pairs[rng.integers(count)] = UNSEEN[rng.integers(len(UNSEEN))]
    cells = sorted(rng.permutation(9)[:count].tolist())
    offsets = rng.uniform(-JITTER, JITTER, (count, 2)).tolist()
    sizes = rng.integers(len(SIZES), size=count).tolist()
    return Scene(
        tuple(
            Thing(shape, colour, SIZES[size], (cell % 3 + 0.5) * CELL + dx, (cell // 3 + 0.5) * CELL + dy)
            for (colour, shape), size, cell, (dx, dy) in zip(pairs, sizes, cells, offsets, strict=True)
        )
    )
