"""What a captioner's parameters are called, what shapes they have, and how they start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers import CELLS
from captioner.model.image_input import IMAGE_INPUTS

Normal = Callable[[tuple[int, ...]], Array]
"""Draws standard normal numbers of a shape."""


@dataclass(frozen=True)
class Sizes:
    """The sizes that fix the shape of every parameter, the cell, and how image and words reach it.

    `image` is the name of a way in which the image reaches the cell.
    """

    vocab: int
    feature: int
    wordvec: int
    hidden: int
    cell: str = "lstm"
    image: str = "init"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every parameter, by CS231n's names and in the order in which it draws them."""
        gates, way = CELLS[self.cell].gates * self.hidden, IMAGE_INPUTS[self.image]
        shapes: dict[str, tuple[int, ...]] = {
            "W_embed": (self.vocab, self.wordvec),
            "W_proj": (self.feature, self.hidden),
            "b_proj": (self.hidden,),
            "W_image": (self.feature, self.wordvec),
            "b_image": (self.wordvec,),
            "Wx": (self.wordvec * way.parts, gates),
            "Wh": (self.hidden, gates),
            "b": (gates,),
            "W_vocab": (self.hidden, self.vocab),
            "b_vocab": (self.vocab,),
        }
        left_out = {"W_image", "b_image"} - set(way.own)
        return {name: shape for name, shape in shapes.items() if name not in left_out}


def initial_params(sizes: Sizes, normal: Normal, dtype: type = np.float32) -> Params:
    """Draw fresh parameters: weights N(0, 1) / sqrt(fan in), word vectors N(0, 1) / 100, biases 0.

    Source: CS231n, assignment 3, classifiers/rnn.py.
    """
    divisors = {"W_embed": 100.0}
    return {
        name: (normal(shape) / divisors.get(name, np.sqrt(shape[0]))).astype(dtype)
        if len(shape) > 1
        else np.zeros(shape, dtype)
        for name, shape in sizes.shapes().items()
    }


def add_forget_bias(params: Params, sizes: Sizes, bias: float) -> None:
    """Start the forget gate open, in place: b_f += bias. A cell without that gate stays as it is.

    Source: Jozefowicz et al. 2015, "An Empirical Exploration of Recurrent Network Architectures", section 2.2.
    """
    gate = CELLS[sizes.cell].forget
    if gate is not None:
        params["b"][gate * sizes.hidden : (gate + 1) * sizes.hidden] += bias


def log_frequency_bias(captions: Array, vocab: int, null: int) -> Array:
    """A start for b_vocab: the log-frequency of every word as a target, so that the first loss is the unigram entropy.

    b_v = log((count_v + 1) / Σ_w (count_w + 1))

    Shapes: captions (K, T) -> (V,) float64.
    Source: Karpathy's NeuralTalk, which starts its output bias the same way.
    """
    targets = captions[:, 1:]
    counts = np.bincount(targets[targets != null], minlength=vocab) + 1.0
    bias: Array = np.log(counts / counts.sum())
    return bias
