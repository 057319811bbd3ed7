"""Source `scenes`: generated images of simple shapes, with captions that can be checked for truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Array
from captioner.data.corpus import Corpus, Split, validate
from captioner.data.scene import COLOURS, SPLITS, Scene, render, sample_scene
from captioner.data.scene_captions import PARAPHRASES, WORDS, is_correct, paraphrases
from captioner.data.scene_encoding import ENCODER, GRID, REGION, encode_regions, first_objects
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
