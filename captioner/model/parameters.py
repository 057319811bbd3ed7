"""Model parameters: names, shapes and initialization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import DataError
from captioner.layers import CELLS
from captioner.layers.feed_forward import ACTIVATIONS
from captioner.model.image_input import IMAGE_INPUTS
from captioner.model.region_attention import ATTENTIONS

Normal = Callable[[tuple[int, ...]], Array]
"""A function from a shape to standard normal samples."""


Shapes: TypeAlias = dict[str, tuple[int, ...]]

NORMS = ("pre", "post")
"""Places of the layer norm of a transformer, by config name."""


@dataclass(frozen=True)
class Sizes:
    """Sizes V, F, D, H of the model, its decoder, image input and attention, which determine its parameters.

    With attention, `region` is R, the region dimension, and `attention_dim` is A; without, both are ignored. A
    transformer has width H, and ignores D and A; only it has `layers`, `heads`, `feed_forward`, `norm`, `activation`.
    """

    vocab: int
    feature: int
    wordvec: int
    hidden: int
    decoder: str = "lstm"
    image: str = "init"
    attention: str = "none"
    region: int = 0
    attention_dim: int = 0
    layers: int = 1
    heads: int = 1
    feed_forward: int = 1
    norm: str = "pre"
    activation: str = "gelu"

    @property
    def attends(self) -> bool:
        """Whether the model attends to image regions."""
        return bool(ATTENTIONS[self.attention])

    def shapes(self) -> Shapes:
        """Return the shapes of all parameters, in the order in which they are initialized."""
        return PARAMETERS[self.decoder].shapes(self)


def recurrent_shapes(sizes: Sizes) -> Shapes:
    """Return the shapes by CS231n's names, in the order in which CS231n initializes them."""
    gates, image_input = CELLS[sizes.decoder].gates * sizes.hidden, IMAGE_INPUTS[sizes.image]
    shapes: Shapes = {
        "W_embed": (sizes.vocab, sizes.wordvec),
        "W_proj": (sizes.feature, sizes.hidden),
        "b_proj": (sizes.hidden,),
        "W_image": (sizes.feature, sizes.wordvec),
        "b_image": (sizes.wordvec,),
        "Wx": (sizes.wordvec * image_input.input_blocks, gates),
        "Wh": (sizes.hidden, gates),
        "b": (gates,),
        "W_vocab": (sizes.hidden, sizes.vocab),
        "b_vocab": (sizes.vocab,),
        "W_key": (sizes.region, sizes.attention_dim),
        "b_key": (sizes.attention_dim,),
        "W_query": (sizes.hidden, sizes.attention_dim),
        "W_sentinel": (sizes.hidden, sizes.attention_dim),
        "b_sentinel": (sizes.attention_dim,),
        "W_context": (sizes.attention_dim, sizes.hidden),
    }
    omitted = {*IMAGE_INPUTS["every"].extra_params, *chain(*ATTENTIONS.values())}
    omitted -= {*image_input.extra_params, *ATTENTIONS[sizes.attention]}
    return {name: shape for name, shape in shapes.items() if name not in omitted}


def layer_shapes(width: int, feed_forward: int) -> Shapes:
    """Return the shapes of the parameters of a transformer's layer; W is [W_q, W_k, W_v]."""
    attention = {"W": (width, 3 * width), "b": (3 * width,), "Wo": (width, width), "bo": (width,)}
    return {
        **{f"{prefix}_{name}": shape for prefix in ("self", "cross") for name, shape in attention.items()},
        "W1": (width, feed_forward),
        "b1": (feed_forward,),
        "W2": (feed_forward, width),
        "b2": (width,),
        **{f"{name}{i}": (width,) for i in (1, 2, 3) for name in ("gamma", "beta")},
    }


def transformer_shapes(sizes: Sizes) -> Shapes:
    """Return the shapes of a transformer's parameters; those of layer i have the prefix `layer{i}_`.

    Raises: DataError if the heads do not divide the width, or for an unknown norm or activation.
    """
    width, heads = sizes.hidden, sizes.heads
    if heads < 1 or width % heads:
        raise DataError(f"heads: expected a divisor of the width {width}, got {heads}")
    for name, got, known in (("norm", sizes.norm, NORMS), ("activation", sizes.activation, tuple(ACTIVATIONS))):
        if got not in known:
            raise DataError(f"{name}: expected {' or '.join(known)}, got {got!r}")
    regions = {"W_region": (sizes.region, width), "b_region": (width,)} if sizes.attends else {}
    layer = layer_shapes(width, sizes.feed_forward)
    final = {"gamma": (width,), "beta": (width,)} if sizes.norm == "pre" else {}
    return {
        "W_embed": (sizes.vocab, width),
        "W_proj": (sizes.feature, width),
        "b_proj": (width,),
        **regions,
        "null": (width,),
        **{f"layer{i}_{name}": shape for i in range(sizes.layers) for name, shape in layer.items()},
        **final,
        "W_vocab": (width, sizes.vocab),
        "b_vocab": (sizes.vocab,),
    }


class DecoderParameters(NamedTuple):
    """The shapes of the parameters of a model by its decoder, and the index of the forget gate, if it has one.

    Initial word vectors are N(0, 1) / `embed_divisor(sizes)`.
    """

    shapes: Callable[[Sizes], Shapes]
    embed_divisor: Callable[[Sizes], float]
    forget: int | None = None


PARAMETERS: Mapping[str, DecoderParameters] = {
    **{name: DecoderParameters(recurrent_shapes, lambda _: 100.0, cell.forget) for name, cell in CELLS.items()},
    "transformer": DecoderParameters(transformer_shapes, lambda sizes: np.sqrt(sizes.hidden)),
}
"""The parameters of every decoder."""


def initial_params(sizes: Sizes, normal: Normal, dtype: type = np.float32) -> Params:
    """Initialize parameters: weights N(0, 1) / sqrt(fan in), scales of norms 1, biases and the null row 0.

    Word vectors are N(0, 1) / 100 as in CS231n, and N(0, 1) / sqrt(E) for a transformer, which scales them by sqrt(E).

    Source: CS231n, assignment 3, classifiers/rnn.py; Vaswani et al. 2017, "Attention Is All You Need", section 3.4.
    """

    def initial(name: str, shape: tuple[int, ...]) -> Array:
        if len(shape) == 1:
            return np.full(shape, 1.0 if name.rpartition("_")[2].startswith("gamma") else 0.0, dtype)
        divisor = PARAMETERS[sizes.decoder].embed_divisor(sizes) if name == "W_embed" else np.sqrt(shape[0])
        return (normal(shape) / divisor).astype(dtype)

    return {name: initial(name, shape) for name, shape in sizes.shapes().items()}


def add_forget_bias(params: Params, sizes: Sizes, bias: float) -> None:
    """Add the initial forget-gate bias in place: b_f += bias, if the cell has a forget gate.

    Source: Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures", section 2.2.
    """
    gate = PARAMETERS[sizes.decoder].forget
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
