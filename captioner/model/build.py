"""The table of decoders, and building a model from the options of a config, which are plain values here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers import CELLS
from captioner.layers.dropout import Dropout
from captioner.model.captioning_model import CaptioningModel
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.captioning_transformer import CaptioningTransformer
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Shapes, Sizes

DECODERS: Mapping[str, type[CaptioningModel]] = {
    **dict.fromkeys(CELLS, CaptioningRNN),
    "transformer": CaptioningTransformer,
}
"""The models by the config name of their decoder. To add one, see CONTRIBUTING.md."""

Options: TypeAlias = Mapping[str, Any]
"""The section `model` of a config."""
Standardizers = tuple[Standardizer | None, Standardizer | None]
"""The standardizers of features and of regions, each None without standardization."""
Normal = Callable[[tuple[int, ...]], Array]
"""A function from a shape to standard normal samples."""


def build_sizes(options: Options, vocab: int, feature: int, region: int = 0) -> Sizes:
    """Return the sizes of a model; V, F and R are those of the data set."""
    named = ("decoder", "attention", "attention_dim", "layers", "heads", "activation")
    return Sizes(
        vocab=vocab,
        feature=feature,
        region=region,
        wordvec=options["wordvec_dim"],
        hidden=options["hidden_dim"],
        image=options["image_input"],
        feed_forward=options["feed_forward_dim"],
        **{name: options[name] for name in named},
    )


def build_dropout(options: Options) -> Dropout:
    rates = {name: options[f"dropout_{name}"] for name in ("features", "hidden", "regions", "keys", "layers")}
    return Dropout(words=options["dropout_embedding"], **rates)


def assemble_model(
    options: Options, sizes: Sizes, params: Params, null: int, standardizers: Standardizers, label_smoothing: float
) -> CaptioningModel:
    """Build a model with these parameters and standardizers; `null` is the id of `<NULL>`."""
    features, regions = standardizers
    return DECODERS[sizes.decoder](sizes, params, null, build_dropout(options), features, label_smoothing, regions)


def parameter_shapes(sizes: Sizes) -> Shapes:
    """Return the shapes of all parameters, in the order in which they are initialized."""
    return DECODERS[sizes.decoder].shapes(sizes)


def parameter_count(sizes: Sizes) -> int:
    return sum(math.prod(shape) for shape in parameter_shapes(sizes).values())


def initial_params(sizes: Sizes, normal: Normal, dtype: type = np.float32) -> Params:
    """Initialize parameters: weights N(0, 1) / sqrt(fan in), scales of norms 1, biases and the null row 0.

    Word vectors are N(0, 1) / 100 as in CS231n, and N(0, 1) / sqrt(E) for a transformer, which scales them by sqrt(E).

    Source: CS231n, assignment 3, classifiers/rnn.py; Vaswani et al. 2017, "Attention Is All You Need", section 3.4.
    """

    def initial(name: str, shape: tuple[int, ...]) -> Array:
        if len(shape) == 1:
            return np.full(shape, 1.0 if name.rpartition("_")[2].startswith("gamma") else 0.0, dtype)
        divisor = DECODERS[sizes.decoder].embed_divisor(sizes) if name == "W_embed" else np.sqrt(shape[0])
        return (normal(shape) / divisor).astype(dtype)

    return {name: initial(name, shape) for name, shape in parameter_shapes(sizes).items()}


def add_forget_bias(params: Params, sizes: Sizes, bias: float) -> None:
    """Add the initial forget-gate bias in place: b_f += bias, if the cell has a forget gate.

    Source: Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures", section 2.2.
    """
    gate = CELLS[sizes.decoder].forget if sizes.decoder in CELLS else None
    if gate is not None:
        params["b"][gate * sizes.hidden : (gate + 1) * sizes.hidden] += bias


def log_frequency_bias(captions: Array, vocab: int, null: int) -> Array:
    """Return an initial output bias: log-frequencies of the target words, so the initial loss is the unigram entropy.

    b_v = log((count_v + 1) / Σ_w (count_w + 1))

    Shapes: captions (N, T) -> (V,) float64.
    Source: Karpathy, NeuralTalk (the same initial output bias).
    """
    targets = captions[:, 1:]
    counts = np.bincount(targets[targets != null], minlength=vocab) + 1.0
    bias: Array = np.log(counts / counts.sum())
    return bias
