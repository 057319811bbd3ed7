"""Replicas: all ranks train the same model on the same data, and make the same updates if their CPUs round equally."""

from __future__ import annotations

import zlib
from operator import attrgetter
from pathlib import Path

import numpy as np

import captioner
from captioner.config.options import Config
from captioner.config.schema import options
from captioner.errors import UsageError
from captioner.parallel.ranks import Ranks
from captioner.training.same_data import same_probe
from captioner.training.solver import TrainState

LOCAL = ("threads",)
"""Options that may differ between ranks, in addition to paths."""


def check_replicas(ranks: Ranks, config: Config, fingerprint: str, probe: list[float], step: int) -> None:
    """Check that all ranks have the same options and data: otherwise they would hang, or train on a mixture.

    Raises: UsageError, on all ranks.
    """
    values = {option.path: attrgetter(option.path)(config) for option in options() if option.kind is not Path}
    shared = {path: value for path, value in values.items() if path not in LOCAL}
    state = {"captions, images or splits": fingerprint, "training step": step, "version": captioner.__version__}
    (first, first_probe), *others = ranks.all_gather(({**shared, **state}, probe))
    for rank, (other, other_probe) in enumerate(others, 1):
        different = [name for name, value in first.items() if other[name] != value]
        if different or not same_probe(other_probe, first_probe):
            raise UsageError(
                f"--mpi: rank {rank} differs from rank 0 in {', '.join(different or ['features'])}; "
                "start all ranks with the same command, files and version"
            )


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
