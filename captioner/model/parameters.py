"""The sizes of a model, and the names and shapes of its parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from captioner.errors import DataError
from captioner.layers import CELLS
from captioner.layers.feed_forward import ACTIVATIONS
from captioner.model.image_input import IMAGE_INPUTS

Shapes: TypeAlias = dict[str, tuple[int, ...]]

ATTENTIONS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "adaptive": ("W_key", "b_key", "W_query", "W_sentinel", "b_sentinel", "W_context"),
}
"""The parameters of each kind of attention, by config name."""


@dataclass(frozen=True)
class Sizes:
    """Sizes V, F, D, H of the model, its decoder, image input and attention, which determine its parameters.

    With attention, `region` is R, the region dimension, and `attention_dim` is A; without, both are ignored. A
    transformer has width H, and ignores D and A; only it has `layers`, `heads`, `feed_forward`, `activation`.
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
    activation: str = "gelu"

    @property
    def attends(self) -> bool:
        """Whether the model attends to image regions."""
        return bool(ATTENTIONS[self.attention])


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

    Raises: DataError if the heads do not divide the width, or for an unknown activation.
    """
    width, heads = sizes.hidden, sizes.heads
    if heads < 1 or width % heads:
        raise DataError(f"heads: expected a divisor of the width {width}, got {heads}")
    if sizes.activation not in ACTIVATIONS:
        raise DataError(f"activation: expected {' or '.join(ACTIVATIONS)}, got {sizes.activation!r}")
    regions = {"W_region": (sizes.region, width), "b_region": (width,)} if sizes.attends else {}
    layer = layer_shapes(width, sizes.feed_forward)
    return {
        "W_embed": (sizes.vocab, width),
        "W_proj": (sizes.feature, width),
        "b_proj": (width,),
        **regions,
        "null": (width,),
        **{f"layer{i}_{name}": shape for i in range(sizes.layers) for name, shape in layer.items()},
        "gamma": (width,),
        "beta": (width,),
        "W_vocab": (width, sizes.vocab),
        "b_vocab": (sizes.vocab,),
    }
