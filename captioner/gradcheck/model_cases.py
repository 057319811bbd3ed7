"""Gradient-check cases of the whole model."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Params, SharedRows
from captioner.config.options import Config
from captioner.gradcheck.layer_cases import CAPTIONS, IMAGES, KEY, REGION, REGIONS, STEPS
from captioner.gradcheck.numeric import Case
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.dropout import NO_DROPOUT, Dropout
from captioner.model.parameters import Sizes, initial_params
from captioner.model.standardizer import Standardizer


class Variant(NamedTuple):
    """A model to check: sizes that differ from the configured ones, and the options of the loss."""

    sizes: dict[str, Any]
    dropout: Dropout = NO_DROPOUT
    smoothing: float = 0.0
    weighted: bool = False


ATTENTION = {"attention": "adaptive", "region": REGION, "attention_dim": KEY}

VARIANTS: dict[str, Variant] = {
    "model, dropout": Variant({}, Dropout(0.2, 0.3, 0.4)),
    "model, image first": Variant({"image": "first"}),
    "model, image every": Variant({"image": "every"}, Dropout(0.2, 0.3, 0.4)),
    "model, smoothing": Variant({}, smoothing=0.1),
    "model, weights": Variant({}, weighted=True),
    "model, attention": Variant(ATTENTION, Dropout(regions=0.2, keys=0.3)),
    "model, attention, image first": Variant({**ATTENTION, "image": "first"}),
    "model, attention, image every": Variant({**ATTENTION, "image": "every"}, Dropout(0.2, 0.3, 0.4, 0.2, 0.3)),
}
"""Every image input, attention and option of the loss, checked even if the config does not use it."""


def model_case(name: str, config: Config, variant: Variant, sizes: Sizes, rng: np.random.Generator) -> Case:
    """Build the case of a small model: its loss on captions of all lengths, one with an inner `<NULL>`."""
    sizes = dataclasses.replace(sizes, **variant.sizes)
    params = initial_params(sizes, rng.standard_normal, np.float64)
    for w in params.values():
        w += 0.1 * rng.standard_normal(w.shape)
    standardizers: list[Standardizer | None] = [None, None]
    if config.data.standardize:
        standardizers = [Standardizer(rng.standard_normal(n), 0.5 + rng.random(n)) for n in (sizes.feature, REGION)]
    model = CaptioningRNN(sizes, params, 0, variant.dropout, standardizers[0], variant.smoothing, standardizers[1])
    features = rng.standard_normal((CAPTIONS, sizes.feature))
    captions = rng.integers(1, sizes.vocab, (CAPTIONS, STEPS))
    for n, caption in enumerate(captions):
        caption[2 + n % (STEPS - 1) :] = 0
    captions[-1, 2] = 0
    weights = rng.standard_normal(CAPTIONS) if variant.weighted else None
    regions = None
    if sizes.attends:
        # Captions share images, and one image has no caption.
        values = rng.standard_normal((IMAGES, REGIONS, sizes.region))
        regions = SharedRows(values, np.arange(CAPTIONS) % (IMAGES - 1))

    def run() -> tuple[float, Params]:
        return model.loss(features, captions, np.random.default_rng(0), weights=weights, regions=regions)

    return Case(name, params, lambda: run()[0], lambda: run()[1])
