"""The replicated state of ranks: each updates its own parameters, which stay equal if all CPUs round equally."""

from __future__ import annotations

import zlib

import numpy as np

from captioner.parallel.ranks import Ranks
from captioner.training.solver import TrainState


def synchronize(state: TrainState, ranks: Ranks) -> None:
    """Give all ranks the parameters and slots of rank 0, if they differ.

    Called before a checkpoint is saved: a run that is resumed from it starts on all ranks with those of rank 0.
    """
    if ranks.size == 1:
        return
    arrays = [array for part in (state.params, *state.slots.values()) for array in part.values()]
    digest = 0
    for array in arrays:
        digest = zlib.crc32(np.ascontiguousarray(array).data, digest)
    if len(set(ranks.all_gather(digest))) > 1:
        for array, first in zip(arrays, ranks.on_rank_0(lambda: arrays), strict=True):
            array[...] = first
