"""Gradient checks of every layer and of the configured model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from captioner.config.options import Config
from captioner.gradcheck.layer_cases import (
    KEY,
    LAYERS,
    MAX_FEATURE,
    MAX_HIDDEN,
    MAX_VOCAB,
    MAX_WORDVEC,
    REGION,
    layer_case,
)
from captioner.gradcheck.model_cases import VARIANTS, Variant, model_case
from captioner.gradcheck.numeric import CheckResult, check
from captioner.inference.build_model import build_dropout
from captioner.model.parameters import Sizes


def gradcheck(config: Config, full: bool = False) -> Iterator[CheckResult]:
    """Check every layer, then the configured model and every variant of it, in float64."""
    options = config.model
    hidden = min(options.hidden_dim, MAX_HIDDEN)
    wordvec = min(options.wordvec_dim, MAX_WORDVEC)
    names = options.cell, options.image_input, options.attention
    sizes = Sizes(MAX_VOCAB, MAX_FEATURE, wordvec, hidden, *names, REGION, min(options.attention_dim, KEY))
    rng = np.random.default_rng(config.seed)
    for name, layer in LAYERS.items():
        yield from check(layer_case(name, layer, sizes, rng), rng, full)
    configured = Variant({}, build_dropout(config), config.train.label_smoothing)
    for name, variant in {"model": configured, **VARIANTS}.items():
        yield from check(model_case(f"{name} ({sizes.cell})", config, variant, sizes, rng), rng, full)
