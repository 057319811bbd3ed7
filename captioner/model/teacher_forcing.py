"""Teacher forcing: the hidden state at each word of the reference captions, forward and backward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, BatchPart, Params, SharedRows
from captioner.layers.cell import Cell
from captioner.layers.dropout import Dropout, NoiseRows, row_dropout_backward, row_dropout_forward
from captioner.layers.embedding import EmbeddingCache, word_embedding_backward, word_embedding_forward
from captioner.layers.packing import Packing, caption_lengths, pack
from captioner.layers.scan import ScanCache, scan_backward, scan_forward
from captioner.model.image_input import ImageInput, StartCache, start_backward, start_forward
from captioner.model.region_attention import RegionsCache, regions_backward, regions_forward
from captioner.parallel.thread_pool import ThreadPool


class TeacherForced(NamedTuple):
    """Hidden states with the words to predict from them, and the cache of the backward pass.

    With attention, `hidden` are its outputs.

    Shapes: hidden (S, H), targets (S,), captions (S,) the caption of each row; S unmasked words.
    """

    hidden: Array
    targets: Array
    captions: Array
    start: StartCache
    words: EmbeddingCache
    words_mask: Array | None
    hidden_mask: Array | None
    is_target: Array
    scan: ScanCache
    attention: RegionsCache | None

    @property
    def packing(self) -> Packing:
        return self.scan.packing


def teacher_forced_forward(
    cell: Cell,
    p: Params,
    image_input: ImageInput,
    image: Array,
    captions: Array,
    null: int,
    dropout: Dropout,
    rng: np.random.Generator | None,
    save_for_backward: bool,
    pool: ThreadPool,
    regions: SharedRows | None = None,
    part: BatchPart | None = None,
) -> TeacherForced:
    """Feed each caption's words to the cell, and return the hidden states at its unmasked targets.

    With `regions`, the hidden states attend to them. With `part`, the captions are part of a batch.

    Shapes: image (N, F), captions (N, T), regions of N rows -> S unmasked words.
    """
    lengths = caption_lengths(captions, null)
    part = part or _whole(lengths, regions)
    image, _ = row_dropout_forward(image, dropout.features, rng, NoiseRows(part.rows, len(part.lengths)), pool)
    packing = pack(lengths, pool.size)
    tokens = captions[packing.caption, packing.time]
    targets = captions[packing.caption, packing.time + 1]
    first = (np.cumsum(part.lengths) - part.lengths)[part.rows]
    positions = NoiseRows(first[packing.caption] + packing.time, int(part.lengths.sum()))
    if rng is not None and dropout.words:
        # Each position has its own noise, so no two inputs are equal.
        distinct, ids = tokens, None
    else:
        distinct, ids = np.unique(tokens, return_inverse=True)
    inputs, words = word_embedding_forward(distinct, p["W_embed"])
    inputs, words_mask = row_dropout_forward(inputs, dropout.words, rng, positions, pool)

    initial, start = start_forward(image_input, cell, p, image, pool)
    weights = p["Wx"][: inputs.shape[1]], p["Wh"], p["b"]
    hidden, scan = scan_forward(cell, inputs, ids, initial, *weights, packing, save_for_backward, pool)
    attention = None
    if regions is not None:
        images = NoiseRows(part.images, part.image_count)
        hidden, attention = regions_forward(p, hidden, regions, packing.caption, dropout, rng, images, pool)
    hidden, hidden_mask = row_dropout_forward(hidden, dropout.hidden, rng, positions, pool)
    is_target, caption = targets != null, packing.caption
    if not is_target.all():
        hidden, targets, caption = hidden[is_target], targets[is_target], caption[is_target]
        hidden_mask = None if hidden_mask is None else hidden_mask[is_target]
    return TeacherForced(hidden, targets, caption, start, words, words_mask, hidden_mask, is_target, scan, attention)


def _whole(lengths: Array, regions: SharedRows | None) -> BatchPart:
    """Return the part of a batch that is all of it."""
    images = 0 if regions is None else len(regions.values)
    return BatchPart(np.arange(len(lengths)), lengths, np.arange(images), images)


def teacher_forced_backward(cell: Cell, dhidden: Array, cache: TeacherForced, pool: ThreadPool) -> Params:
    """Compute the gradients of `teacher_forced_forward` for all parameters but those of the output layer.

    Shapes: dhidden (S, H).
    """
    dhidden = row_dropout_backward(dhidden, cache.hidden_mask)
    if len(dhidden) < len(cache.is_target):
        scattered = np.zeros_like(dhidden, shape=(len(cache.is_target), dhidden.shape[1]))
        scattered[cache.is_target] = dhidden
        dhidden = scattered
    grads: Params = {}
    if cache.attention is not None:
        dhidden, grads = regions_backward(dhidden, cache.attention, pool)
    dinputs, dstart, dWx, dWh, db = scan_backward(cell, dhidden, cache.scan, pool)
    dW_embed = word_embedding_backward(row_dropout_backward(dinputs, cache.words_mask), cache.words)
    grads |= {"W_embed": dW_embed, "Wx": dWx, "Wh": dWh, "b": db}
    for name, grad in start_backward(dstart, cache.start, pool).items():
        # The image input may have a larger Wx: the scan uses its first rows.
        if name in grads:
            grad[: len(grads[name])] += grads[name]
        grads[name] = grad
    return grads
