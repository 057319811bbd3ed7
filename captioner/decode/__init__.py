"""Decoding methods: greedy, beam search and sampling, with constraints, the regression of words, and a thread pool.

A method uses a model only through `step(tokens, state) -> log_probs, state`. It returns tokens (N, K, T) and the
natural log-probabilities of the captions (N, K) under the model itself: constraints, length normalization, temperature
and truncation affect which words are chosen, not the returned scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array, SharedRows
from captioner.decode.beam import beam
from captioner.decode.constraints import UNCONSTRAINED, Constraints
from captioner.decode.greedy_and_sampling import greedy, sample
from captioner.model.captioning_model import ModelOrEnsemble, StepModel
from captioner.parallel.thread_pool import ThreadPool

__all__ = ["UNCONSTRAINED", "Constraints", "beam", "greedy", "parallel_decoding", "sample"]

DecodingMethod: TypeAlias = Callable[..., tuple[Array, Array]]
"""`decode(step, state, *row_arrays)` -> tokens (N, K, T), scores (N, K): a method with its options bound."""


def parallel_decoding(model: ModelOrEnsemble, pool: ThreadPool) -> Callable[..., tuple[Array, Array]]:
    """Return a function that decodes captions for a batch of images, sharded over the workers of a pool.

    `run(decode, features, *row_arrays, regions=regions)` passes each worker its rows of the further arrays. Each worker
    prepares the model for inference once, at its first call. Calls from several threads run one after the other,
    because the workers reuse their buffers.

    Shapes: features (N, F), row_arrays (N, ...), regions of N rows -> tokens (N, K, T), scores (N, K).
    """
    models: dict[int, StepModel] = {}

    def run(
        decode: DecodingMethod, features: Array, *row_arrays: Array, regions: SharedRows | None = None
    ) -> tuple[Array, Array]:
        shards = np.array_split(np.arange(len(features)), min(pool.size, len(features)))

        def work(worker: int) -> tuple[Array, Array] | None:
            if worker >= len(shards):
                return None
            if worker not in models:
                models[worker] = model.for_inference()
            rows = shards[worker]
            state = model.start(features[rows], None if regions is None else regions[rows])
            return decode(models[worker].step, state, *(array[rows] for array in row_arrays))

        with pool.lock:
            tokens, scores = zip(*filter(None, pool.map(work)), strict=True)
        return np.concatenate(tokens), np.concatenate(scores)

    return run
