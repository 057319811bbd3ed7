"""The words of a batch of captions: packed, with their places in the drawn noise, and as inputs of the decoder."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Batch, BatchPart
from captioner.layers.dropout import NoiseRows, row_dropout_backward, row_dropout_forward
from captioner.layers.embedding import EmbeddingCache, word_embedding_backward, word_embedding_forward
from captioner.layers.packing import Packing, caption_lengths, pack
from captioner.parallel.thread_pool import ThreadPool


class PackedWords(NamedTuple):
    """The packed words of captions, and which words to predict: those after them, without `<NULL>`.

    `captions`, `positions` and `images` are the places of captions, packed rows and images in the drawn noise.

    Shapes: tokens, is_target (P,), targets (S,) the unmasked words to predict.
    """

    packing: Packing
    tokens: Array
    is_target: Array
    targets: Array
    captions: NoiseRows
    positions: NoiseRows
    images: NoiseRows


def pack_words(batch: Batch, null: int, shards: int, groups_captions: bool) -> PackedWords:
    """Pack the words of a batch; with `groups_captions`, the shards share its images instead of its captions."""
    lengths, regions = caption_lengths(batch.captions, null), batch.regions
    images = 0 if regions is None else len(regions.values)
    part = batch.part or BatchPart(np.arange(len(lengths)), lengths, np.arange(images), images)
    packing = pack(lengths, shards, regions.index if groups_captions and regions is not None else None)
    targets = batch.captions[packing.caption, packing.time + 1]
    is_target = targets != null
    first = (np.cumsum(part.lengths) - part.lengths)[part.rows]
    return PackedWords(
        packing=packing,
        tokens=batch.captions[packing.caption, packing.time],
        is_target=is_target,
        targets=targets[is_target],
        captions=NoiseRows(part.rows, len(part.lengths)),
        positions=NoiseRows(first[packing.caption] + packing.time, int(part.lengths.sum())),
        images=NoiseRows(part.images, part.image_count),
    )


class Inputs(NamedTuple):
    """The embedded words: packed row p has the input vectors[ids[p]], or vectors[p] without ids.

    Shapes: vectors (U, D), ids (P,).
    """

    vectors: Array
    ids: Array | None
    embedding: EmbeddingCache
    mask: Array | None


def inputs_forward(
    words: PackedWords, W: Array, p: float, rng: np.random.Generator | None, shares: bool, pool: ThreadPool
) -> Inputs:
    """Embed words, and apply dropout with rate p; with `shares`, equal words are one input.

    Shapes: W (V, D).
    """
    tokens, ids = words.tokens, None
    if shares and (rng is None or not p):  # with dropout, each position has its own noise
        tokens, ids = np.unique(tokens, return_inverse=True)
    vectors, embedding = word_embedding_forward(tokens, W)
    vectors, mask = row_dropout_forward(vectors, p, rng, words.positions, pool)
    return Inputs(vectors, ids, embedding, mask)


def inputs_backward(dvectors: Array, inputs: Inputs) -> Array:
    """Compute the gradient of `inputs_forward` for W.

    Shapes: dvectors (U, D) -> (V, D).
    """
    return word_embedding_backward(row_dropout_backward(dvectors, inputs.mask), inputs.embedding)
