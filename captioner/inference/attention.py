"""Attention maps: the weights with which each word of a caption was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from captioner.arrays import Array, SharedRows
from captioner.errors import CheckpointError
from captioner.inference.restore import LoadedModel
from captioner.model.ensemble import Ensemble
from captioner.parallel.thread_pool import SERIAL, ThreadPool

DECIMALS = 6
TRAIN = "train with -o model.attention=adaptive"


@dataclass(frozen=True, eq=False)
class Attention:
    """The attention weights with which each word of a caption was predicted; of an ensemble, their mean.

    A row of `weights` has the weights of the L regions in reading order, then that of the sentinel; its sum is 1. The
    regions form a `grid` (rows, columns).

    Shapes: T words, weights (T, L + 1).
    """

    words: Sequence[str]
    weights: Array
    grid: tuple[int, int]

    @property
    def maps(self) -> Array:
        """The weights of the regions as grids. Shapes: (T, rows, columns)."""
        return self.weights[:, :-1].reshape(-1, *self.grid)

    @property
    def sentinel(self) -> Array:
        """The weights of the sentinel. Shapes: (T,)."""
        return self.weights[:, -1]

    def record(self) -> dict[str, Any]:
        """Return the words, the grid and the rounded weights as a JSON object."""
        return {
            "words": list(self.words),
            "grid": list(self.grid),
            "weights": self.maps.astype(float).round(DECIMALS).tolist(),
            "sentinel": self.sentinel.astype(float).round(DECIMALS).tolist(),
        }


def check_attention(loaded: LoadedModel) -> None:
    """Check that a model, or each model of an ensemble, has attention.

    Raises: CheckpointError.
    """
    model = loaded.model
    if isinstance(model, Ensemble) and not model.attends:
        without = [str(number) for number, member in enumerate(model.members, 1) if not member.attends]
        raise CheckpointError(
            f"attention maps: expected models with attention, got none in model {', '.join(without)} of "
            f"{len(model.members)}; leave out models without attention, or {TRAIN}"
        )
    if not model.attends:
        raise CheckpointError(
            f"{loaded.path}: attention maps: expected a model with attention, got model.attention "
            f"{loaded.config.model.attention}; {TRAIN}"
        )


def attention_of(
    loaded: LoadedModel,
    features: Array,
    regions: SharedRows | None,
    grid: Sequence[int],
    tokens: Array,
    pool: ThreadPool = SERIAL,
) -> list[Attention]:
    """Compute the attention of decoded captions in one teacher-forced pass.

    Shapes: features (N, F), regions of N rows that form a grid, tokens (N, T) without `<START>`.
    """
    captions = np.insert(tokens, 0, loaded.vocab.start, axis=1)
    weights = loaded.model.attention_weights(features, captions, regions, pool)
    height, width = grid
    words = [loaded.vocab.decode(ids) for ids in tokens.tolist()]
    return [Attention(own, rows[: len(own)], (height, width)) for own, rows in zip(words, weights, strict=True)]
