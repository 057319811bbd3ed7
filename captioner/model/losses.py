"""Teacher forcing: packed words of the reference captions as inputs, the outputs at their targets, and their losses.

Also the log-probabilities of the output layer for inference, the mean loss per word and perplexity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Batch, BatchPart, SharedRows
from captioner.layers.blocked_matmul import InferenceMatrix
from captioner.layers.dropout import Dropout, NoiseRows, row_dropout_backward, row_dropout_forward
from captioner.layers.embedding import EmbeddingCache, word_embedding_backward, word_embedding_forward
from captioner.layers.packing import Packing, caption_lengths, pack
from captioner.layers.softmax import cross_entropy, log_softmax
from captioner.model.interface import ModelOrEnsemble
from captioner.parallel.ranks import Reduce, identity
from captioner.parallel.thread_pool import SERIAL, ThreadPool


class Words(NamedTuple):
    """The packed words of captions: row p has the input inputs[ids[p]], or inputs[p] without ids.

    `positions` and `images` are the places of the rows and of the images in the drawn noise.

    Shapes: inputs (U, D), ids (P,), targets (P,) the words to predict.
    """

    packing: Packing
    inputs: Array
    ids: Array | None
    targets: Array
    embedding: EmbeddingCache
    mask: Array | None
    positions: NoiseRows
    images: NoiseRows


class Outputs(NamedTuple):
    """Outputs of the decoder at the unmasked targets, after dropout, with the words to predict from them.

    Shapes: hidden (S, H), targets (S,), captions (S,) the caption of each row, is_target (P,); S unmasked words.
    """

    hidden: Array
    targets: Array
    captions: Array
    mask: Array | None
    is_target: Array


def pack_words(
    captions: Array,
    null: int,
    W_embed: Array,
    image: Array,
    dropout: Dropout,
    rng: np.random.Generator | None,
    pool: ThreadPool,
    regions: SharedRows | None,
    part: BatchPart | None,
    shares_inputs: bool,
    groups_captions: bool,
) -> tuple[Words, Array]:
    """Pack and embed the words of captions; return them, and the images after dropout.

    With `part`, the captions are part of a batch. With `shares_inputs`, equal words are one input. With
    `groups_captions` and regions, workers share the images instead of the captions.

    Shapes: captions (N, T), W_embed (V, D), image (N, F), regions of N rows.
    """
    lengths = caption_lengths(captions, null)
    part = part or _whole(lengths, regions)
    image, _ = row_dropout_forward(image, dropout.features, rng, NoiseRows(part.rows, len(part.lengths)), pool)
    packing = pack(lengths, pool.size, regions.index if groups_captions and regions is not None else None)
    tokens = captions[packing.caption, packing.time]
    targets = captions[packing.caption, packing.time + 1]
    first = (np.cumsum(part.lengths) - part.lengths)[part.rows]
    positions = NoiseRows(first[packing.caption] + packing.time, int(part.lengths.sum()))
    distinct, ids = tokens, None
    if shares_inputs and (rng is None or not dropout.words):  # with dropout, each position has its own noise
        distinct, ids = np.unique(tokens, return_inverse=True)
    inputs, embedding = word_embedding_forward(distinct, W_embed)
    inputs, mask = row_dropout_forward(inputs, dropout.words, rng, positions, pool)
    images = NoiseRows(part.images, part.image_count)
    return Words(packing, inputs, ids, targets, embedding, mask, positions, images), image


def _whole(lengths: Array, regions: SharedRows | None) -> BatchPart:
    """Return the part of a batch that is all of it."""
    images = 0 if regions is None else len(regions.values)
    return BatchPart(np.arange(len(lengths)), lengths, np.arange(images), images)


def words_backward(dinputs: Array, words: Words) -> Array:
    """Compute the gradient of W_embed.

    Shapes: dinputs (U, D) -> (V, D).
    """
    return word_embedding_backward(row_dropout_backward(dinputs, words.mask), words.embedding)


def select_targets(
    hidden: Array, words: Words, null: int, rate: float, rng: np.random.Generator | None, pool: ThreadPool
) -> Outputs:
    """Apply dropout to the outputs of the decoder, and select those at unmasked targets.

    Shapes: hidden (P, H) -> S unmasked words.
    """
    hidden, mask = row_dropout_forward(hidden, rate, rng, words.positions, pool)
    is_target, targets, caption = words.targets != null, words.targets, words.packing.caption
    if not is_target.all():
        hidden, targets, caption = hidden[is_target], targets[is_target], caption[is_target]
        mask = None if mask is None else mask[is_target]
    return Outputs(hidden, targets, caption, mask, is_target)


def outputs_backward(dhidden: Array, outputs: Outputs) -> Array:
    """Compute the gradient of `select_targets`.

    Shapes: dhidden (S, H) -> (P, H).
    """
    dhidden = row_dropout_backward(dhidden, outputs.mask)
    if len(dhidden) == len(outputs.is_target):
        return dhidden
    scattered = np.zeros_like(dhidden, shape=(len(outputs.is_target), dhidden.shape[1]))
    scattered[outputs.is_target] = dhidden
    return scattered


class Losses(NamedTuple):
    """Losses of a batch, or of the part of a batch that a rank computes: those of the batch are the sums of its parts.

    `loss` is the training objective: weighted, label-smoothed, summed over words and divided by N. `trained_sum` and
    `nll_sum` are unweighted sums over words: of the label-smoothed loss, and of the negative log-likelihood.
    """

    loss: float
    words: int
    trained_sum: float
    nll_sum: float

    @property
    def trained(self) -> float:
        """The mean label-smoothed loss per word."""
        return self.trained_sum / max(1, self.words)

    @property
    def nll(self) -> float:
        """The mean negative log-likelihood per word."""
        return self.nll_sum / max(1, self.words)


def output_cross_entropy(
    hidden: Array, targets: Array, W: Array, b: Array, scale: Array, smoothing: float, pool: ThreadPool
) -> tuple[Array, Array, Array, Array]:
    """Compute `cross_entropy` of the scores hidden W + b, sharded over the workers of a pool.

    Shapes: hidden (S, H), targets (S,), W (H, V), b (V,), scale (S,) -> losses (S,), nll (S,), dscores (S, V), db (V,).
    """
    scores = np.empty((len(hidden), len(b)), hidden.dtype)
    shards = pool.shards(len(hidden))

    def work(worker: int) -> tuple[Array, Array, Array, Array]:
        shard = shards[worker]
        np.matmul(hidden[shard], W, out=scores[shard])
        return cross_entropy(scores[shard], targets[shard], scale[shard], b, smoothing)

    losses, nll, _, db = zip(*pool.map(work), strict=True)
    return np.concatenate(losses), np.concatenate(nll), scores, sum(db[1:], db[0])


class OutputLayer:
    """A copy of the output layer for repeated steps, with buffers for its results."""

    def __init__(self, W: Array, b: Array) -> None:
        self._W, self._b = InferenceMatrix(W[None]), b.copy()
        self._scores = np.empty((0, len(b)), W.dtype)

    def log_probs(self, hidden: Array) -> Array:
        """Compute log softmax(hidden W + b), in an array that the next call overwrites.

        Shapes: hidden (N, H), W (H, V), b (V,) -> (N, V).
        """
        (scores,) = self._W.product(hidden)
        if len(scores) > len(self._scores):
            self._scores = np.empty(scores.shape, scores.dtype)
        # Element-wise operations on rows without gaps take half the time.
        return log_softmax(scores, self._b, out=self._scores[: len(scores)])


def perplexity(word_loss: float) -> float:
    """Return exp(word_loss) for a mean loss per word in nats, or infinity on overflow."""
    return math.exp(word_loss) if word_loss < 700 else math.inf


@np.errstate(over="ignore", invalid="ignore")
def mean_word_loss(
    model: ModelOrEnsemble, batches: Iterable[Batch], pool: ThreadPool = SERIAL, reduce: Reduce = identity
) -> float:
    """Compute the mean teacher-forced loss per word in nats over the batches of all ranks, without dropout."""
    total, words = 0.0, 0.0
    for batch in batches:
        if not len(batch.captions):  # the share of a rank may be empty
            continue
        losses = model.word_losses(batch.features, batch.captions, pool, batch.regions)
        total += float(losses.sum(dtype=np.float64))
        words += len(losses)
    total, words = map(float, reduce({"sums": np.array([total, words])})["sums"])
    return total / max(1.0, words)
