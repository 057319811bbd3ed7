"""Teacher-forced loss and perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np

from captioner.arrays import Array
from captioner.parallel.buffers import Workspace
from captioner.parallel.thread_pool import SERIAL, ThreadPool


def perplexity(word_loss: float) -> float:
    """exp of a mean word loss in nats; infinite where that has no float."""
    return math.exp(word_loss) if word_loss < 700 else math.inf


class Judge(Protocol):
    """What tells the losses of words: a CaptioningRNN, or an ensemble."""

    def word_losses(self, features: Array, captions: Array, workspace: Workspace, pool: ThreadPool) -> Array: ...


@np.errstate(over="ignore", invalid="ignore")
def mean_word_loss(model: Judge, batches: Iterable[tuple[Array, Array]], pool: ThreadPool = SERIAL) -> float:
    """The mean loss of a word in nats over batches of features and captions, without dropout."""
    total, words, workspace = 0.0, 0, Workspace()
    for features, captions in batches:
        losses = model.word_losses(features, captions, workspace, pool)
        total += float(losses.sum(dtype=np.float64))
        words += len(losses)
    return total / max(1, words)
