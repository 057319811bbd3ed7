"""The pointing game: whether attention points at the object that a word names."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from captioner.arrays import Array
from captioner.data.scenes.encoder import GRID
from captioner.data.scenes.scene import COLOURS, Scene


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
