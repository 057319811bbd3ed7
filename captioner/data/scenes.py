"""Source `scenes`: generated images of simple shapes, with captions that can be checked for truth, and their encoder.

The encoder is fixed: hand-made features of the pixels, without trained parameters.

The image is divided into 3 x 3 windows, and the first three windows with an object, in reading order, are encoded (a
scene has at most one object per window). The code of a window is its position, its mean colour and the moments of the
object's shape; colour and moments pass through Gaussian radial basis functions. A *linear* map can therefore read
colour and shape independently, also in unseen combinations.

The codes of all nine windows are the regions of the image, for attention.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array
from captioner.data.corpus import Corpus, Split, validate
from captioner.data.scene import (
    COLOURS,
    PARAPHRASES,
    SIDE,
    SPLITS,
    WORDS,
    Scene,
    is_correct,
    paraphrases,
    render,
    sample_scene,
)  # fmt: skip
from captioner.data.vocabulary import Vocab

BATCH = 64
"""Pictures that are rendered and encoded at a time."""


def scenes(
    root: str | os.PathLike[str] | None = None,
    *,
    memory_mib: int = 0,
    regions: bool = False,
    seed: int = 0,
    train: int = 4000,
    val: int = 500,
    test: int = 500,
    heldout: int = 500,
) -> Corpus:
    """Generate, render, caption and encode scenes; every image has five captions.

    `train`, `val`, `test` and `heldout` are numbers of images. The splits share no scene, and only `heldout` contains
    the unseen combinations of colour and shape. With `regions`, the nine windows of each image are its regions.
    `root` and `memory_mib`, arguments of every source, are ignored.
    """
    counts = {"train": train, "val": val, "test": test, "heldout": heldout}
    vocab = Vocab.build([WORDS])
    splits = {name: make_split(seed, name, count, vocab, regions) for name, count in counts.items() if count}
    return validate(Corpus(vocab, splits, ENCODER), "scenes")


class Example(NamedTuple):
    """A scene, its image (64, 64, 3) uint8, and five tokenized captions."""

    scene: Scene
    picture: NDArray[np.uint8]
    captions: list[list[str]]


def example(seed: int, split: str, index: int) -> Example:
    """Generate image `index` of a split, independently of the other images."""
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    scene = sample_scene(rng, split)
    return Example(scene, render(scene, rng), paraphrases(scene, rng))


def make_split(seed: int, name: str, count: int, vocab: Vocab, regions: bool = False) -> Split:
    """Generate the first `count` examples of a split, and encode them a batch at a time, to keep few pictures."""
    scenes: list[Scene] = []
    captions: list[list[str]] = []
    codes = np.empty((count, GRID * GRID, REGION), np.float32)
    for first in range(0, count, BATCH):
        batch = [example(seed, name, index) for index in range(first, min(first + BATCH, count))]
        codes[first : first + BATCH] = encode_regions(np.stack([item.picture for item in batch]))
        scenes += (item.scene for item in batch)
        captions += (words for item in batch for words in item.captions)
    return Split(
        captions=vocab.encode(captions),
        image_idxs=np.arange(count, dtype=np.int32).repeat(PARAPHRASES),
        features=first_objects(codes),
        image_ids=[f"{name}-{index:05d}" for index in range(count)],
        is_correct=lambda image, words: is_correct(scenes[image], words),
        picture=lambda image: example(seed, name, image).picture,
        regions=codes.reshape(count, GRID, GRID, REGION) if regions else None,
        pointing_game=lambda image, words, weights: pointing_game(scenes[image], words, weights),
        digests=dict.fromkeys(("features", "regions"), "generated"),  # they differ between machines by rounding
    )


def pointing_game(scene: Scene, words: Sequence[str], weights: Array) -> list[bool]:
    """Check, for each colour and shape word that names an object, whether its strongest region contains the object.

    Words of objects that the scene does not have are omitted: there is nothing to point at. The sentinel, the last
    weight, does not count as a region.

    Shapes: weights (T, 9 + 1), those of the prediction of each word.
    Source: Zhang et al. 2016, "Top-Down Neural Attention by Excitation Backprop", section 4.1 (the pointing game).
    """
    regions = {(obj.colour, obj.shape): obj.row * GRID + obj.column for obj in scene.objects}
    strongest = weights[:, :-1].argmax(axis=1).tolist()
    return [
        strongest[t] == regions[name]
        for first, name in enumerate(pairwise(words))
        if name[0] in COLOURS and name in regions
        for t in (first, first + 1)
    ]


ENCODER = "scenes-1"

GRID = 3
WINDOW = 22
BEFORE = 1
"""Padding of the image at the top and left; the windows need 2 more rows and columns than it has."""
MAX_OBJECTS = 3

CORE = 12
"""The number of foreground pixels that make an object; fewer are noise or the edge of a neighbour."""
FAINT, PLAIN = np.float32(0.1), np.float32(0.2)
"""Colour distances to the background: below the first a pixel is noise, above the second it is an object."""
RIM = np.float32(0.375)
"""A pixel is background below this fraction of the core's distance."""

ORDERS = (2, 3, 4)
"""The harmonics of a shape: elongation, three corners, four corners."""
LATTICE = np.stack(np.meshgrid(*[np.linspace(0.1, 0.9, 3)] * 3), axis=-1).reshape(-1, 3).astype(np.float32)
LATTICE_WIDTH = np.float32(0.25)
KNOTS = np.linspace(-1, 1, 5, dtype=np.float32)
KNOT_WIDTH = np.float32(0.3)
GAIN = np.float32(3)
"""Scales the features to the size of word vectors, so that they need no standardization."""

ROW, COLUMN = np.indices((WINDOW, WINDOW), np.float32).reshape(2, -1)
TINY = np.float32(1e-3)

REGION = 1 + GRID * GRID + len(LATTICE) + len(KNOTS) * (2 + 2 * len(ORDERS))
FEATURES = MAX_OBJECTS * REGION


def encode_regions(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Encode the windows of images, in reading order.

    Shapes: images (M, 64, 64, 3) -> (M, 9, 77).
    """
    count = len(images)
    rgb = np.moveaxis(images, 3, 0).astype(np.float32) / np.float32(255)
    background = np.median(rgb[:, :, 2::4, 2::4].reshape(3, count, -1), axis=2)
    contrast = windows(rgb - background[:, :, None, None])
    distance = np.sqrt((contrast * contrast).sum(axis=0))
    core = np.partition(distance, -CORE, axis=1)[:, -CORE, None]
    presence = ((core - FAINT) / (PLAIN - FAINT)).clip(0, 1)
    weight = ((distance / np.maximum(core, PLAIN) - RIM) / (1 - RIM)).clip(0, 1)
    colour = mean(contrast, weight * weight).T + background.T.repeat(GRID * GRID, axis=0)
    place = np.tile(np.eye(GRID * GRID, dtype=np.float32), (count, 1))
    codes = np.concatenate([np.ones_like(presence), place, colour_code(colour), shape_code(weight)], axis=1)
    by_window: Array = (GAIN * presence * codes).reshape(count, GRID * GRID, -1)
    return by_window


def first_objects(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Concatenate the codes of the first three windows with an object.

    Shapes: codes (M, 9, 77) -> (M, 231).
    """
    # The first number of a code is the presence of an object, from 0 to GAIN.
    empty = codes[:, :, 0] < GAIN / 2
    first = np.argsort(empty, axis=1, kind="stable")[:, :MAX_OBJECTS, None]
    return np.take_along_axis(codes, first, axis=1).reshape(len(codes), FEATURES)


def windows(planes: Array) -> Array:
    """Cut images into windows. Shapes: planes (3, M, 64, 64) -> (3, 9 M, pixels of a window)."""
    after = GRID * WINDOW - SIDE - BEFORE
    padded = np.pad(planes, ((0, 0), (0, 0), (BEFORE, after), (BEFORE, after)))
    tiles = padded.reshape(3, -1, GRID, WINDOW, GRID, WINDOW).swapaxes(3, 4)
    return tiles.reshape(3, -1, WINDOW * WINDOW)


def mean(values: Array, weight: Array) -> Array:
    """Compute the weighted mean over the pixels of each window."""
    average: Array = (values * weight).sum(axis=-1) / (weight.sum(axis=-1) + TINY)
    return average


def colour_code(colour: Array) -> Array:
    """Encode colours by Gaussian radial basis functions on a lattice of 27 colours: exp(-½ |c - l|² / width²).

    Shapes: (K, 3) -> (K, 27).
    """
    off = (colour[:, None, :] - LATTICE) / LATTICE_WIDTH
    code: Array = np.exp(-0.5 * (off * off).sum(axis=2))
    return code


def shape_code(weight: Array) -> Array:
    """Encode size, spread and harmonics about the centroid by five Gaussian radial basis functions each.

    z = (x - x̄) + i (y - ȳ);   r² = mean |z|²;   spread = 2π r² / area (1 for a disc);   harmonic k = mean zᵏ / rᵏ

    Shapes: (K, pixels) -> (K, 40).
    """
    x, y = (axis - mean(axis, weight)[:, None] for axis in (COLUMN, ROW))
    square = mean(x * x + y * y, weight)
    radius = np.sqrt(square) + np.float32(0.3)
    spread = 2 * np.pi * square / (weight.sum(axis=1) + TINY)
    # shift and scale the moments of shapes with a radius of 4 to 9 pixels to the range of the knots
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
