"""Teacher-forced loss and perplexity."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from captioner.arrays import Batch
from captioner.model.interface import CaptionModel
from captioner.parallel.ranks import Reduce, identity
from captioner.parallel.thread_pool import SERIAL, ThreadPool


def perplexity(word_loss: float) -> float:
    """Return exp(word_loss) for a mean loss per word in nats, or infinity on overflow."""
    return math.exp(word_loss) if word_loss < 700 else math.inf


@np.errstate(over="ignore", invalid="ignore")
def mean_word_loss(
    model: CaptionModel, batches: Iterable[Batch], pool: ThreadPool = SERIAL, reduce: Reduce = identity
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
