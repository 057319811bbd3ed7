"""The gradient check of every layer, and of the configured model, at a small slice of its own sizes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array, Params
from captioner.config import Config
from captioner.gradcheck import Case, Row, check
from captioner.layers import CELLS
from captioner.layers.affine import (
    affine_backward,
    affine_forward,
    temporal_affine_backward,
    temporal_affine_forward,
)
from captioner.layers.cell import Cell, scan_backward, scan_forward
from captioner.layers.dropout import draw_noise, dropout_backward, dropout_forward
from captioner.layers.embedding import word_embedding_backward, word_embedding_forward
from captioner.layers.lstm import lstm_backward, lstm_forward, lstm_step_backward, lstm_step_forward
from captioner.layers.packing import pack
from captioner.layers.rnn import rnn_backward, rnn_forward, rnn_step_backward, rnn_step_forward
from captioner.layers.softmax import temporal_softmax_loss
from captioner.model import NO_DROPOUT, CaptioningRNN, Dropout, Standardizer
from captioner.parameters import Sizes, initial_params
from captioner.run.build import build_dropout

# Large enough for every index and block of rows or columns to matter, small enough for element-wise checks in seconds.
CAPTIONS, STEPS, LONG, MOST_VOCAB, MOST_FEATURE, MOST_WORDVEC, MOST_HIDDEN = 4, 5, 20, 11, 7, 6, 17


class Layer(NamedTuple):
    """A layer to check: the shapes of its inputs, and its two functions of these inputs.

    Letters of `shapes`: N captions, T steps, L many steps, D input, H hidden, G pre-activations, V vocabulary.
    """

    shapes: dict[str, str]
    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]
    gates: int = 1
    """G as a multiple of H."""


def _ids(arrays: tuple[int, ...], most: int) -> Array:
    """Fixed ids with repeats and gaps."""
    return np.arange(int(np.prod(arrays))).reshape(arrays) * 3 % most


def _words_forward(W: Array) -> tuple[Array, Any]:
    return word_embedding_forward(_ids((CAPTIONS, STEPS), len(W) - 1), W)


def _softmax_forward(x: Array) -> tuple[Array, Array]:
    mask = _ids(x.shape[:2], 4) > 0
    loss, dx = temporal_softmax_loss(x, _ids(x.shape[:2], x.shape[2]), mask)
    return np.array(loss), dx


def _dropout_forward(x: Array) -> tuple[Array, Array]:
    return dropout_forward(x, 0.4, draw_noise(x.shape, np.random.default_rng(0)))


_WEIGHTS = {"Wx": "DG", "Wh": "HG", "b": "G"}


def _lstm_step_forward(*inputs: Array) -> tuple[Any, Any]:
    next_h, next_c, cache = lstm_step_forward(*inputs)
    return (next_h, next_c), cache


def _scan(cell: Cell, has_context: bool = False) -> Layer:
    """Captions of different lengths, one of them without a step, that share input rows, and perhaps have a context."""
    packing = pack(np.arange(CAPTIONS) * STEPS // CAPTIONS)

    def forward(inputs: Array, Wx: Array, Wh: Array, b: Array, *state: Array) -> tuple[Any, Any]:
        ids = _ids((len(packing.caption),), len(inputs) - 1)
        gated = [context.reshape(len(context), cell.gates, -1) for context in state[cell.states :]]
        return scan_forward(cell, inputs, ids, (*state[: cell.states], *gated), Wx, Wh, b, packing)

    def backward(dh: Array, cache: Any) -> tuple[Array, ...]:
        dinputs, dinitial, dWx, dWh, db = scan_backward(cell, dh, cache)
        dcontext = [d.reshape(len(d), -1) for d in dinitial[cell.states :]]
        return dinputs, dWx, dWh, db, *dinitial[: cell.states], *dcontext

    context = {"context": "NG"} if has_context else {}
    return Layer({"inputs": "ND", **_WEIGHTS, **_states(cell), **context}, forward, backward, cell.gates)


def _states(cell: Cell) -> dict[str, str]:
    return dict.fromkeys(("h", "c")[: cell.states], "NH")


LAYERS: dict[str, Layer] = {
    "affine": Layer({"x": "ND", "w": "DH", "b": "H"}, affine_forward, affine_backward),
    "temporal_affine": Layer({"x": "NTD", "w": "DH", "b": "H"}, temporal_affine_forward, temporal_affine_backward),
    "word_embedding": Layer({"W": "VD"}, _words_forward, word_embedding_backward),
    "temporal_softmax_loss": Layer({"x": "NLV"}, _softmax_forward, lambda dloss, dx: dloss * dx),
    "dropout": Layer({"x": "ND"}, _dropout_forward, dropout_backward),
    "rnn_step": Layer({"x": "ND", "h": "NH", **_WEIGHTS}, rnn_step_forward, rnn_step_backward),
    "lstm_step": Layer({"x": "ND", "h": "NH", "c": "NH", **_WEIGHTS}, _lstm_step_forward, lstm_step_backward, 4),
    "rnn": Layer({"x": "NTD", "h": "NH", **_WEIGHTS}, rnn_forward, rnn_backward),
    "lstm": Layer({"x": "NTD", "h": "NH", **_WEIGHTS}, lstm_forward, lstm_backward, 4),
    **{f"{name}_scan": _scan(cell) for name, cell in CELLS.items()},
    **{f"{name}_scan_context": _scan(cell, has_context=True) for name, cell in CELLS.items()},
}
"""Every layer that `captioner gradcheck` proves."""


class Variant(NamedTuple):
    """A model to check: what in its sizes is not as configured, and what its loss has."""

    sizes: dict[str, Any]
    dropout: Dropout = NO_DROPOUT
    smoothing: float = 0.0
    weighted: bool = False


VARIANTS: dict[str, Variant] = {
    "model, dropout": Variant({}, Dropout(0.2, 0.3, 0.4)),
    "model, image first": Variant({"image": "first"}),
    "model, image every": Variant({"image": "every"}, Dropout(0.2, 0.3, 0.4)),
    "model, tied": Variant({"tied": True}),
    "model, smoothing": Variant({}, smoothing=0.1),
    "model, weights": Variant({}, weighted=True),
}
"""Every option of the loss, checked whether the config has it or not."""


def gradcheck(config: Config, full: bool = False) -> Iterator[Row]:
    """Check all layers, then the model as configured and in every variant, in float64."""
    options = config.model
    hidden = min(options.hidden_dim, MOST_HIDDEN)
    wordvec = hidden if options.tie_words else min(options.wordvec_dim, MOST_WORDVEC)
    sizes = Sizes(MOST_VOCAB, MOST_FEATURE, wordvec, hidden, options.cell, options.image, options.tie_words)
    rng = np.random.default_rng(config.seed)
    for name, layer in LAYERS.items():
        yield from check(layer_case(name, layer, sizes, rng), rng, full)
    configured = Variant({}, build_dropout(config), config.train.label_smoothing)
    for name, variant in {"model": configured, **VARIANTS}.items():
        yield from check(model_case(f"{name} ({sizes.cell})", config, variant, sizes, rng), rng, full)


def layer_case(name: str, layer: Layer, sizes: Sizes, rng: np.random.Generator) -> Case:
    """The scalar Σ <out, dout> of a layer's outputs, for fixed random dout."""
    n, t, d, h, v = CAPTIONS, STEPS, sizes.wordvec, sizes.hidden, sizes.vocab
    letters = {"N": n, "T": t, "L": LONG, "D": d, "H": h, "G": layer.gates * h, "V": v}
    arrays = {k: rng.standard_normal([letters[letter] for letter in shape]) for k, shape in layer.shapes.items()}
    outs = _tuple(layer.forward(*arrays.values())[0])
    douts = [rng.standard_normal(np.shape(out)) for out in outs]

    def loss() -> float:
        outs = _tuple(layer.forward(*arrays.values())[0])
        return float(sum(np.vdot(out, dout) for out, dout in zip(outs, douts, strict=True)))

    def grads() -> Params:
        _, cache = layer.forward(*arrays.values())
        return dict(itertools.zip_longest(arrays, _tuple(layer.backward(*douts, cache))))

    return Case(name, arrays, loss, grads)


def model_case(name: str, config: Config, variant: Variant, sizes: Sizes, rng: np.random.Generator) -> Case:
    """The loss of a small model on captions of all lengths, one with `<NULL>` inside, with its dropout held still."""
    sizes = dataclasses.replace(sizes, **variant.sizes)
    if sizes.tied:
        sizes = dataclasses.replace(sizes, wordvec=sizes.hidden)
    params = initial_params(sizes, rng.standard_normal, np.float64)
    for w in params.values():
        w += 0.1 * rng.standard_normal(w.shape)
    standardizer = None
    if config.data.standardize:
        standardizer = Standardizer(rng.standard_normal(sizes.feature), 0.5 + rng.random(sizes.feature))
    model = CaptioningRNN(sizes, params, 0, variant.dropout, standardizer, variant.smoothing)
    features = rng.standard_normal((CAPTIONS, sizes.feature))
    captions = rng.integers(1, sizes.vocab, (CAPTIONS, STEPS))
    for n, caption in enumerate(captions):
        caption[2 + n % (STEPS - 1) :] = 0
    captions[-1, 2] = 0
    weights = rng.standard_normal(CAPTIONS) if variant.weighted else None

    def run() -> tuple[float, Params]:
        return model.loss(features, captions, np.random.default_rng(0), weights=weights)

    return Case(name, params, lambda: run()[0], lambda: run()[1])


def _tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)
