"""Model parameters: names, shapes and initialization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers import CELLS
from captioner.model.image_input import IMAGE_INPUTS
from captioner.model.region_attention import ATTENTIONS

Normal = Callable[[tuple[int, ...]], Array]
"""A function from a shape to standard normal samples."""


@dataclass(frozen=True)
class Sizes:
    """Sizes V, F, D, H of the model, its cell, image input and attention, which determine the shapes of the parameters.

    With attention, `region` is R, the region dimension, and `attention_dim` is A; without, both are ignored.
    """

    vocab: int
    feature: int
    wordvec: int
    hidden: int
    cell: str = "lstm"
    image: str = "init"
    attention: str = "none"
    region: int = 0
    attention_dim: int = 0

    @property
    def attends(self) -> bool:
        """Whether the model attends to image regions."""
        return bool(ATTENTIONS[self.attention])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes by CS231n's names, in the order in which CS231n initializes them."""
        gates, image_input = CELLS[self.cell].gates * self.hidden, IMAGE_INPUTS[self.image]
        shapes: dict[str, tuple[int, ...]] = {
            "W_embed": (self.vocab, self.wordvec),
            "W_proj": (self.feature, self.hidden),
            "b_proj": (self.hidden,),
            "W_image": (self.feature, self.wordvec),
            "b_image": (self.wordvec,),
            "Wx": (self.wordvec * image_input.input_blocks, gates),
            "Wh": (self.hidden, gates),
            "b": (gates,),
            "W_vocab": (self.hidden, self.vocab),
            "b_vocab": (self.vocab,),
            "W_key": (self.region, self.attention_dim),
            "b_key": (self.attention_dim,),
            "W_query": (self.hidden, self.attention_dim),
            "W_sentinel": (self.hidden, self.attention_dim),
            "b_sentinel": (self.attention_dim,),
            "W_context": (self.attention_dim, self.hidden),
        }
        omitted = {*IMAGE_INPUTS["every"].extra_params, *chain(*ATTENTIONS.values())}
        omitted -= {*image_input.extra_params, *ATTENTIONS[self.attention]}
        return {name: shape for name, shape in shapes.items() if name not in omitted}


def initial_params(sizes: Sizes, normal: Normal, dtype: type = np.float32) -> Params:
    """Initialize parameters: weights N(0, 1) / sqrt(fan in), word vectors N(0, 1) / 100, biases 0.

    Source: CS231n, assignment 3, classifiers/rnn.py.
    """

    def initial(name: str, shape: tuple[int, ...]) -> Array:
        divisor = 100.0 if name == "W_embed" else np.sqrt(shape[0])
        return (normal(shape) / divisor).astype(dtype) if len(shape) > 1 else np.zeros(shape, dtype)

    return {name: initial(name, shape) for name, shape in sizes.shapes().items()}


def add_forget_bias(params: Params, sizes: Sizes, bias: float) -> None:
    """Add the initial forget-gate bias in place: b_f += bias, if the cell has a forget gate.

    Source: Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures", section 2.2.
    """
    gate = CELLS[sizes.cell].forget
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
