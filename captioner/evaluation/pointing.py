"""Accuracy of attention in the pointing game, for data sets that know where the named objects are."""

from __future__ import annotations

from collections.abc import Iterable

from captioner.data.corpus import Split
from captioner.inference.caption import Attention
from captioner.metrics import fraction


def pointing_accuracy(split: Split, attention: Iterable[Attention | None]) -> float | None:
    """Compute the fraction of words that name an object of the image, and whose strongest region contains the object.

    None for a data set that does not know the positions of objects, and for a model without attention. `attention` is
    that of the captions of all images of the split.
    """
    if split.pointing_game is None:
        return None
    hits: list[bool] = []
    for image, one in enumerate(attention):
        if one is None:
            return None
        hits += split.pointing_game(image, one.words, one.weights)
    return fraction(sum(hits), hits)
