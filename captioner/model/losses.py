"""The output layer and its losses: cross-entropy for training, log-probabilities for inference, and perplexity."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Params
from captioner.layers.blocked_matmul import InferenceMatrix
from captioner.layers.softmax import cross_entropy, log_softmax
from captioner.model.words import PackedWords
from captioner.parallel.thread_pool import ThreadPool


class OutputCache(NamedTuple):
    """What the gradients need, of the S unmasked targets.

    Shapes: hidden (S, H), dscores (S, V), db (V,), is_target (P,).
    """

    W: Array
    hidden: Array
    dscores: Array
    db: Array
    is_target: Array


def output_forward(
    p: Params, hidden: Array, words: PackedWords, scale: Array, smoothing: float, pool: ThreadPool
) -> tuple[Array, Array, OutputCache]:
    """Compute the `cross_entropy` of scores = hidden W_vocab + b_vocab at the unmasked targets.

    The workers of the pool each process a shard of the rows.

    Shapes: hidden (P, H), scale (S,) -> losses (S,), nll (S,), cache.
    """
    if len(words.targets) < len(hidden):
        hidden = hidden[words.is_target]
    W, b = p["W_vocab"], p["b_vocab"]
    scores, shards = np.empty((len(hidden), len(b)), hidden.dtype), pool.shards(len(hidden))

    def work(worker: int) -> tuple[Array, Array, Array, Array]:
        shard = shards[worker]
        np.matmul(hidden[shard], W, out=scores[shard])
        return cross_entropy(scores[shard], words.targets[shard], scale[shard], b, smoothing)

    losses, nll, _, db = zip(*pool.map(work), strict=True)
    cache = OutputCache(W, hidden, scores, sum(db[1:], db[0]), words.is_target)
    return np.concatenate(losses), np.concatenate(nll), cache


def output_backward(cache: OutputCache, pool: ThreadPool) -> tuple[Array, Params]:
    """Compute the gradients of Σ scale losses in `output_forward`.

    Shapes: -> dhidden (P, H), those of W_vocab and b_vocab.
    """
    W, hidden, dscores, db, is_target = cache
    dW = pool.matmul(hidden.T, dscores, np.empty(W.shape, W.dtype))
    dhidden = pool.matmul(dscores, W.T, np.empty(hidden.shape, hidden.dtype))
    if len(dhidden) < len(is_target):
        scattered = np.zeros_like(dhidden, shape=(len(is_target), dhidden.shape[1]))
        scattered[is_target] = dhidden
        dhidden = scattered
    return dhidden, {"W_vocab": dW, "b_vocab": db}


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
