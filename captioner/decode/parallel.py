"""Decoding with a thread pool: each worker decodes one shard of the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.model.inference_step import Readable, Steps
from captioner.parallel.thread_pool import ThreadPool

Decode: TypeAlias = Callable[..., tuple[Array, Array]]
"""A decoder with its options given: `step`, state and further row arrays -> tokens (N, K, T), scores (N, K)."""


def writer(model: Readable, pool: ThreadPool) -> Callable[..., tuple[Array, Array]]:
    """A function from a decoder and images to their captions, by which a team writes: each member those of its share.

    What it is given besides the features, rows for rows, it hands on to the decoder. The model is laid out once for
    each member, not once for each call.

    Shapes: decode, features (N, F), ... -> tokens (N, K, T), scores (N, K).
    """
    readers: list[Steps] = []

    def write(decode: Decode, features: Array, *others: Array) -> tuple[Array, Array]:
        size = min(pool.size, len(features))
        shards, *rest = (np.array_split(rows, size) for rows in (features, *others))
        readers.extend(model.reader() for _ in shards[len(readers) :])

        def work(worker: int) -> tuple[Array, Array] | None:
            if worker >= len(shards):
                return None
            own = (rows[worker] for rows in rest)
            return decode(readers[worker].step, model.start(shards[worker]), *own)

        tokens, scores = zip(*filter(None, pool.map(work)), strict=True)
        return np.concatenate(tokens), np.concatenate(scores)

    return write
