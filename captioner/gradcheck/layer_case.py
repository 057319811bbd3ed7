"""The scalar function of a layer, a forward and a backward function, that a gradient check compares."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Params
from captioner.gradcheck.numeric import Case
from captioner.layers.cell import Cell
from captioner.layers.rnn import RNN

QUERIES_KEYS_VALUES = "QKV"
"""The parts of a stacked projection W or b."""


class Layer(NamedTuple):
    """A layer to check: the shapes of its inputs, its forward and its backward function.

    Letters of `shapes`: N captions, T and U steps, D input, H hidden, G pre-activations, V vocabulary;
    P rows, M images, L regions per image, R region dimension, A key dimension; Q rows in B groups, E width, J
    feed-forward size, W = 3 E of a transformer.
    """

    shapes: dict[str, str]
    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]
    cell: Cell = RNN
    """The cell whose gates G consists of."""
    sizes: Mapping[str, int] = MappingProxyType({})
    """The sizes of letters that differ from those of other layers."""


def layer_case(name: str, layer: Layer, letters: Mapping[str, int], rng: np.random.Generator) -> Case:
    """Build the case of a layer: the scalar Σ <out, dout> of its outputs, for fixed random dout.

    `letters` are the sizes of the letters of its shapes, but for G.
    """
    letters = {**letters, **layer.sizes}
    letters["G"] = layer.cell.gates * letters["H"]
    arrays = {k: rng.standard_normal([letters[letter] for letter in shape]) for k, shape in layer.shapes.items()}
    outs = _tuple(layer.forward(*arrays.values())[0])
    douts = [rng.standard_normal(np.shape(out)) for out in outs]

    def loss() -> float:
        outs = _tuple(layer.forward(*arrays.values())[0])
        return float(sum(np.vdot(out, dout) for out, dout in zip(outs, douts, strict=True)))

    def grads() -> Params:
        _, cache = layer.forward(*arrays.values())
        return dict(itertools.zip_longest(arrays, _tuple(layer.backward(*douts, cache))))

    stacked = {"G": layer.cell.gate_names, "W": QUERIES_KEYS_VALUES}
    parts = {k: stacked[shape[-1]] for k, shape in layer.shapes.items() if shape[-1] in stacked}
    return Case(name, arrays, loss, grads, parts)


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)
