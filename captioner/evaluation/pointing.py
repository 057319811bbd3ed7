"""Accuracy of attention in the pointing game, for data sets that know where the named objects are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from captioner.data.corpus import Split, read_regions
from captioner.inference.captioner import BATCH
from captioner.inference.restore import LoadedModel
from captioner.metrics import fraction
from captioner.model.captioning_rnn import CaptioningRNN


def pointing_accuracy(loaded: LoadedModel, split: Split, captions: Sequence[str]) -> float | None:
    """Compute the fraction of words that name an object of the image, and whose strongest region contains the object.

    None for a data set that does not know the positions of objects, and for models without attention; an ensemble has
    no attention weights. `captions` are those of all images of the split.
    """
    model = loaded.model
    if split.pointing_game is None or not isinstance(model, CaptioningRNN) or not model.sizes.attends:
        return None
    hits: list[bool] = []
    for first in range(0, len(captions), BATCH):
        words = [caption.split() for caption in captions[first : first + BATCH]]
        images = np.arange(first, first + len(words))
        batch = split.features[images], loaded.vocab.encode(words)
        weights = model.attention_weights(*batch, read_regions(split.regions, images))
        for image, own, of_caption in zip(images.tolist(), words, weights, strict=True):
            hits += split.pointing_game(image, own, of_caption[: len(own)])
    return fraction(sum(hits), hits)
