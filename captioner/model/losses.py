"""The output layer: its cross-entropy over the hidden states of a batch, and its log-probabilities for inference; the
mean loss per word and perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Batch
from captioner.layers.blocked_matmul import InferenceMatrix
from captioner.layers.softmax import cross_entropy, log_softmax
from captioner.model.interface import ModelOrEnsemble
from captioner.parallel.ranks import Reduce, identity
from captioner.parallel.thread_pool import SERIAL, ThreadPool


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
