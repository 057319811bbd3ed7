"""Decoding with a thread pool: each worker decodes a shard of the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.model.interface import CaptionModel, StepModel
from captioner.parallel.thread_pool import ThreadPool

Decoder: TypeAlias = Callable[..., tuple[Array, Array]]
"""`decode(step, state, *row_arrays)` -> tokens (N, K, T), scores (N, K): a decoder with its options bound."""


def parallel_decoder(model: CaptionModel, pool: ThreadPool) -> Callable[..., tuple[Array, Array]]:
    """Return a function that decodes captions for a batch of images, sharded over the workers of a pool.

    `run(decode, features, *row_arrays)` passes each worker its rows of the further arrays. Each worker prepares the
    model for inference once, at its first call.

    Shapes: features (N, F), row_arrays (N, ...) -> tokens (N, K, T), scores (N, K).
    """
    models: list[StepModel] = []

    def run(decode: Decoder, features: Array, *row_arrays: Array) -> tuple[Array, Array]:
        size = min(pool.size, len(features))
        shards, *rest = (np.array_split(rows, size) for rows in (features, *row_arrays))
        models.extend(model.for_inference() for _ in shards[len(models) :])

        def work(worker: int) -> tuple[Array, Array] | None:
            if worker >= len(shards):
                return None
            return decode(models[worker].step, model.start(shards[worker]), *(rows[worker] for rows in rest))

        tokens, scores = zip(*filter(None, pool.map(work)), strict=True)
        return np.concatenate(tokens), np.concatenate(scores)

    return run
