"""Gradient checks of every layer and of the configured model, at small sizes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from captioner.arrays import Array, Batch, Params, SharedRows
from captioner.gradcheck.layer_case import QUERIES_KEYS_VALUES, Layer, layer_case
from captioner.gradcheck.numeric import Case
from captioner.layers import CELLS
from captioner.layers.affine import affine_backward, affine_forward, temporal_affine_backward, temporal_affine_forward
from captioner.layers.attention import attention_backward, attention_forward, keys_backward, keys_forward
from captioner.layers.cell import Cell, step_backward, step_forward
from captioner.layers.dropout import NO_DROPOUT, Dropout, draw_noise, dropout_backward, dropout_forward
from captioner.layers.embedding import (
    positions_backward,
    positions_forward,
    word_embedding_backward,
    word_embedding_forward,
)
from captioner.layers.feed_forward import ACTIVATIONS, feed_forward_backward, feed_forward_forward
from captioner.layers.layer_norm import layer_norm_backward, layer_norm_forward
from captioner.layers.lstm import LSTM, lstm_backward, lstm_forward, lstm_step_backward, lstm_step_forward
from captioner.layers.multi_head_attention import (
    group_table,
    memory_attention_backward,
    memory_attention_forward,
    self_attention_backward,
    self_attention_forward,
)
from captioner.layers.packing import pack
from captioner.layers.rnn import rnn_backward, rnn_forward, rnn_step_backward, rnn_step_forward
from captioner.layers.scan import scan_backward, scan_forward
from captioner.layers.softmax import temporal_softmax_loss
from captioner.model.build import DECODERS, build_dropout, initial_params
from captioner.model.captioning_model import CaptioningModel
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.captioning_transformer import CaptioningTransformer
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Sizes
from captioner.model.transformer import MAX_CAPTIONS_PER_GROUP
from captioner.parallel.thread_pool import ThreadPool

if TYPE_CHECKING:
    from captioner.config.options import Config

# Large enough to exercise every index and block, small enough for element-wise checks in seconds.
CAPTIONS, STEPS, LONG, MAX_VOCAB, MAX_FEATURE, MAX_WORDVEC, MAX_HIDDEN = 4, 5, 20, 11, 7, 6, 17
ROWS, IMAGES, REGIONS, REGION, KEY = 7, 3, 4, 6, 5
WIDTH, HEADS, FEED_FORWARD = 6, 2, 9
GROUPS, GROUPED = 34, 66
TABLE = group_table(np.repeat(np.arange(GROUPS), np.arange(GROUPS) % 5)[5 * np.arange(GROUPED) % GROUPED], GROUPS)
"""The rows of groups of 0 to 4 rows, in turn: more groups, and more rows, than a layer computes in one block."""


def fixed_ids(shape: tuple[int, ...], count: int) -> Array:
    """Return fixed ids below `count`, with repeats and gaps."""
    return np.arange(int(np.prod(shape))).reshape(shape) * 3 % count


def _words_forward(W: Array) -> tuple[Array, Any]:
    return word_embedding_forward(fixed_ids((CAPTIONS, STEPS), len(W) - 1), W)


def _softmax_forward(x: Array) -> tuple[Array, Array]:
    mask = fixed_ids(x.shape[:2], 4) > 0
    loss, dx = temporal_softmax_loss(x, fixed_ids(x.shape[:2], x.shape[2]), mask)
    return np.array(loss), dx


def _dropout_forward(x: Array) -> tuple[Array, Array]:
    return dropout_forward(x, 0.4, draw_noise(x.shape, np.random.default_rng(0)))


def _keys_forward(W_key: Array, b_key: Array) -> tuple[Array, Any]:
    regions = np.random.default_rng(0).standard_normal((IMAGES, REGIONS, REGION))
    return keys_forward(regions.astype(W_key.dtype), W_key, b_key)


def _attention_forward(h: Array, keys: Array, *weights: Any) -> tuple[Array, Any]:
    """Attend with rows of the first and the third image, none of the second."""
    return attention_forward(h, SharedRows(keys, 2 * fixed_ids((ROWS,), 2)), *weights)


def _feed_forward(name: str) -> Layer:
    """Build the case of a feed-forward layer with an activation."""

    def forward(*inputs: Array) -> tuple[Any, Any]:
        x, W1, b1, W2, b2 = inputs
        return feed_forward_forward(x, W1, b1, W2, b2, ACTIVATIONS[name])

    return Layer({"x": "QE", "W1": "EJ", "b1": "J", "W2": "JE", "b2": "E"}, forward, feed_forward_backward)


def _self_attention_forward(x: Array, *weights: Array) -> tuple[Array, Any]:
    W, b, Wo, bo = weights
    return self_attention_forward(x, TABLE, W, b, Wo, bo, HEADS)


def _memory_attention_forward(x: Array, memory: Array, *weights: Array) -> tuple[Array, Any]:
    W, b, Wo, bo = weights
    bias = np.where(fixed_ids((*TABLE.shape, memory.shape[1]), 4) > 0, 0, -np.inf).astype(x.dtype)
    return memory_attention_forward(x, memory, TABLE, bias, W, b, Wo, bo, HEADS)


_ATTENTION = {"W": "EW", "b": "W", "Wo": "EE", "bo": "E"}
_WEIGHTS = {"Wx": "DG", "Wh": "HG", "b": "G"}


def _lstm_step_forward(*inputs: Array) -> tuple[Any, Any]:
    next_h, next_c, cache = lstm_step_forward(*inputs)
    return (next_h, next_c), cache


def _step(cell: Cell) -> Layer:
    """Build the case of one step of a cell."""

    def forward(x: Array, Wx: Array, Wh: Array, b: Array, *state: Array) -> tuple[Any, Any]:
        return step_forward(cell, x, state, Wx, Wh, b)

    def backward(*douts_and_cache: Any) -> tuple[Array, ...]:
        *douts, cache = douts_and_cache
        dx, dstate, dWx, dWh, db = step_backward(cell, tuple(douts), cache)
        return dx, dWx, dWh, db, *dstate

    return Layer({"x": "ND", **_WEIGHTS, **_states(cell)}, forward, backward, cell)


def _scan(cell: Cell, has_context: bool = False) -> Layer:
    """Build the case of a scan over captions of different lengths, one of them empty, that share input rows."""
    packing = pack(np.arange(CAPTIONS) * STEPS // CAPTIONS)

    def forward(inputs: Array, Wx: Array, Wh: Array, b: Array, *state: Array) -> tuple[Any, Any]:
        ids = fixed_ids((len(packing.caption),), len(inputs) - 1)
        gated = [context.reshape(len(context), cell.gates, -1) for context in state[cell.states :]]
        return scan_forward(cell, inputs, ids, (*state[: cell.states], *gated), Wx, Wh, b, packing)

    def backward(dh: Array, cache: Any) -> tuple[Array, ...]:
        dinputs, dinitial, dWx, dWh, db = scan_backward(cell, dh, cache)
        dcontext = [d.reshape(len(d), -1) for d in dinitial[cell.states :]]
        return dinputs, dWx, dWh, db, *dinitial[: cell.states], *dcontext

    context = {"context": "NG"} if has_context else {}
    return Layer({"inputs": "ND", **_WEIGHTS, **_states(cell), **context}, forward, backward, cell)


def _states(cell: Cell) -> dict[str, str]:
    return dict.fromkeys(("h", "c")[: cell.states], "NH")


LAYERS: dict[str, Layer] = {
    "affine": Layer({"x": "ND", "w": "DH", "b": "H"}, affine_forward, affine_backward),
    "temporal_affine": Layer({"x": "NTD", "w": "DH", "b": "H"}, temporal_affine_forward, temporal_affine_backward),
    "word_embedding": Layer({"W": "VD"}, _words_forward, word_embedding_backward),
    "temporal_softmax_loss": Layer({"x": "NUV"}, _softmax_forward, lambda dloss, dx: dloss * dx),
    "dropout": Layer({"x": "ND"}, _dropout_forward, dropout_backward),
    "attention_keys": Layer({"W_key": "RA", "b_key": "A"}, _keys_forward, keys_backward),
    "attention": Layer(
        {"h": "PH", "keys": "MLA", "W_query": "HA", "W_sentinel": "HA", "b_sentinel": "A", "W_context": "AH"},
        _attention_forward,
        attention_backward,
    ),
    "layer_norm": Layer({"x": "QE", "gamma": "E", "beta": "E"}, layer_norm_forward, layer_norm_backward),
    "positions": Layer(
        {"x": "PE"},
        lambda x: (positions_forward(x, fixed_ids((ROWS,), 4)), None),
        lambda dout, _: positions_backward(dout),
    ),
    **{f"feed_forward_{name}": _feed_forward(name) for name in ACTIVATIONS},
    "self_attention": Layer({"x": "QE", **_ATTENTION}, _self_attention_forward, self_attention_backward),
    "memory_attention": Layer(
        {"x": "QE", "memory": "BLE", **_ATTENTION}, _memory_attention_forward, memory_attention_backward
    ),
    **{f"{name}_step": _step(cell) for name, cell in CELLS.items()},
    # The functions of CS231n instead of the equations that they call:
    "rnn_step": Layer({"x": "ND", "h": "NH", **_WEIGHTS}, rnn_step_forward, rnn_step_backward),
    "lstm_step": Layer({"x": "ND", "h": "NH", "c": "NH", **_WEIGHTS}, _lstm_step_forward, lstm_step_backward, LSTM),
    **{f"{name}_scan": _scan(cell) for name, cell in CELLS.items()},
    **{f"{name}_scan_context": _scan(cell, has_context=True) for name, cell in CELLS.items()},
    "rnn": Layer({"x": "NTD", "h": "NH", **_WEIGHTS}, rnn_forward, rnn_backward),
    "lstm": Layer({"x": "NTD", "h": "NH", **_WEIGHTS}, lstm_forward, lstm_backward, LSTM),
}
"""Every layer that `captioner gradcheck` checks, inner layers before those that consist of them."""


def letters_of(sizes: Sizes) -> dict[str, int]:
    """Return the sizes of the letters of `Layer.shapes`."""
    letters = {"N": CAPTIONS, "T": STEPS, "U": LONG, "D": sizes.wordvec, "H": sizes.hidden, "V": sizes.vocab}
    letters |= {"P": ROWS, "M": IMAGES, "L": REGIONS, "R": REGION, "A": KEY}
    return letters | {"Q": GROUPED, "B": GROUPS, "E": WIDTH, "J": FEED_FORWARD, "W": 3 * WIDTH}


class Variant(NamedTuple):
    """A model to check: sizes that differ from the configured ones, the options of the loss, and the threads."""

    sizes: dict[str, Any]
    dropout: Dropout = NO_DROPOUT
    smoothing: float = 0.0
    weighted: bool = False
    captions: int = CAPTIONS
    workers: int = 1


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
    "model, attention, 3 threads": Variant({**ATTENTION, "image": "every"}, Dropout(keys=0.3), captions=7, workers=3),
}
"""Every image input, attention, option of the loss and sum over workers, checked even if the config does not use it."""
SMALL = {"hidden": WIDTH, "heads": HEADS, "feed_forward": FEED_FORWARD, "layers": 2}
TRANSFORMER_VARIANTS: dict[str, Variant] = {
    "model, dropout": Variant({}, Dropout(0.2, 0.3, 0.4, layers=0.3)),
    "model, relu": Variant({"activation": "relu"}),
    "model, smoothing": VARIANTS["model, smoothing"],
    "model, weights": VARIANTS["model, weights"],
    "model, 1 layer": Variant({"layers": 1}),
    "model, attention": Variant(ATTENTION, Dropout(regions=0.2, layers=0.3)),
    "model, attention, many captions": Variant({**ATTENTION, "layers": 1}, captions=2 * MAX_CAPTIONS_PER_GROUP + 2),
    "model, attention, relu": Variant({**ATTENTION, "activation": "relu"}, Dropout(0.2, 0.3, 0.4, 0.2, layers=0.3)),
    "model, attention, 3 threads": Variant(ATTENTION, Dropout(layers=0.3), captions=7, workers=3),
}
"""Every activation, attention, option of the loss and sum over workers of a transformer."""
MODELS: Mapping[type[CaptioningModel], tuple[dict[str, Any], dict[str, Variant]]] = {
    CaptioningRNN: ({}, VARIANTS),
    CaptioningTransformer: (SMALL, TRANSFORMER_VARIANTS),
}
"""The sizes and the variants to check of each model."""


def model_case(name: str, config: Config, variant: Variant, sizes: Sizes, rng: np.random.Generator) -> Case:
    """Build the case of a small model: its loss on captions of all lengths, one with an inner `<NULL>`."""
    sizes = dataclasses.replace(sizes, **variant.sizes)
    params = initial_params(sizes, rng.standard_normal, np.float64)
    for w in params.values():
        w += 0.1 * rng.standard_normal(w.shape)
    standardizers: list[Standardizer | None] = [None, None]
    if config.data.standardize:
        standardizers = [Standardizer(rng.standard_normal(n), 0.5 + rng.random(n)) for n in (sizes.feature, REGION)]
    options = variant.dropout, standardizers[0], variant.smoothing, standardizers[1]
    model = DECODERS[sizes.decoder](sizes, params, 0, *options)
    features = rng.standard_normal((variant.captions, sizes.feature))
    captions = rng.integers(1, sizes.vocab, (variant.captions, STEPS))
    for n, caption in enumerate(captions):
        caption[2 + n % (STEPS - 1) :] = 0
    captions[-1, 2] = 0
    weights = rng.standard_normal(variant.captions) if variant.weighted else None
    regions = None
    if sizes.attends:
        # Captions share images, and one image has no caption.
        values = rng.standard_normal((IMAGES, REGIONS, sizes.region))
        regions = SharedRows(values, np.arange(variant.captions) % (IMAGES - 1))

    batch, pool = Batch(features, captions, regions, weights), ThreadPool(variant.workers)
    pool.min_parallel = 0  # also small products are sharded

    def run() -> tuple[float, Params]:
        return model.loss(batch, np.random.default_rng(0), pool)

    parts = CELLS[sizes.decoder].gate_names if sizes.decoder in CELLS else QUERIES_KEYS_VALUES
    stacked = {k: parts for k in params if k in ("Wx", "Wh", "b") or k.endswith(("_W", "_b"))}
    return Case(name, params, lambda: run()[0], lambda: run()[1], stacked)


def gradient_cases(config: Config) -> Iterator[tuple[Case, np.random.Generator]]:
    """Yield the case of every layer, inner ones first, then those of the configured model and of its variants.

    Each case has a generator, which also draws its directions. It is seeded by `config.seed` and the name of the case,
    so that a new case does not change the others.
    """

    def generator(name: str) -> np.random.Generator:
        return np.random.default_rng([config.seed, *name.encode()])

    options = config.model
    hidden = min(options.hidden_dim, MAX_HIDDEN)
    wordvec = min(options.wordvec_dim, MAX_WORDVEC)
    names = options.decoder, options.image_input, options.attention
    sizes = Sizes(MAX_VOCAB, MAX_FEATURE, wordvec, hidden, *names, REGION, min(options.attention_dim, KEY))
    for name, layer in LAYERS.items():
        rng = generator(name)
        yield layer_case(name, layer, letters_of(sizes), rng), rng
    configured = Variant({}, build_dropout(vars(options)), config.train.label_smoothing)
    small, variants = MODELS[DECODERS[sizes.decoder]]
    sizes = dataclasses.replace(sizes, activation=options.activation, **small)
    for variant_name, variant in {"model": configured, **variants}.items():
        name = f"{variant_name} ({sizes.decoder})"
        rng = generator(name)
        yield model_case(name, config, variant, sizes, rng), rng
