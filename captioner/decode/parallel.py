"""Decoding with a thread pool: each worker decodes one shard of the images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.model.inference_step import Readable, Steps
from captioner.parallel.thread_pool import Team

Decode: TypeAlias = Callable[..., tuple[Array, Array]]
"""A decoder with its options given: `step`, state and further row arrays -> tokens (N, K, T), scores (N, K)."""


def writer(model: Readable, team: Team) -> Callable[..., tuple[Array, Array]]:
    """A function from a decoder and images to their captions, by which a team writes: each member those of its share.

    What it is given besides the features, rows for rows, it hands on to the decoder. The model is laid out once for
    each member, not once for each call.

    Shapes: decode, features (N, F), ... -> tokens (N, K, T), scores (N, K).
    """
    readers: list[Steps] = []

    def write(decode: Decode, features: Array, *others: Array) -> tuple[Array, Array]:
        size = min(team.size, len(features))
        shares, *rest = (np.array_split(rows, size) for rows in (features, *others))
        readers.extend(model.reader() for _ in shares[len(readers) :])

        def work(member: int) -> tuple[Array, Array] | None:
            if member >= len(shares):
                return None
            own = (rows[member] for rows in rest)
            return decode(readers[member].step, model.start(shares[member]), *own)

        tokens, scores = zip(*filter(None, team.map(work)), strict=True)
        return np.concatenate(tokens), np.concatenate(scores)

    return write
