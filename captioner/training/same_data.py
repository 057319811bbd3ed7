"""Check that the data set of a resumed run is the one that training began with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from captioner.errors import CheckpointError, UsageError
from captioner.storage.checkpoint import Meta


def same_probe(probe: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether two probes are of the same features; CPUs may round them differently."""
    return all(math.isclose(*pair, rel_tol=1e-3, abs_tol=1e-9) for pair in zip(probe, other, strict=False))


def check_same_data(where: Path, meta: Meta, fingerprint: str, probe: Sequence[float]) -> None:
    """Raises: UsageError when the data set is not that of the checkpoint, CheckpointError for an invalid probe."""
    changed = "captions, images or splits" if fingerprint != meta.fingerprint else ""
    if meta.region_dim and not meta.grid:  # written before the probe included regions
        probe = probe[: len(probe) // 2]
    if not changed and len(probe) != len(meta.probe):
        raise CheckpointError(f"{where}: meta: probe: expected {len(probe)} numbers, got {len(meta.probe)}")
    if not changed and not same_probe(probe, meta.probe):
        changed = "features or regions" if meta.region_dim else "features"
    if changed:
        raise UsageError(
            f"{where}: the {changed} have changed since training began, so the run cannot be resumed; "
            "restore them, or start a new run"
        )
