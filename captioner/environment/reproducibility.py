"""The libraries and settings that results depend on bit by bit: thread count, NumPy and BLAS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from captioner.parallel import blas

LABELS = {"threads": "threads", "numpy": "NumPy", "blas": "BLAS"}


def environment(threads: int) -> dict[str, str]:
    """Return the thread count and library versions of this process; equal ones give bit-identical results."""
    return {"threads": str(threads), "numpy": np.__version__, "blas": blas.name()}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning if they differ; keys missing from an older checkpoint are ignored."""
    changed = [
        f"{label} {before[key]} to {now[key]}" for key, label in LABELS.items() if before.get(key, now[key]) != now[key]
    ]
    if changed:
        yield (
            f"changed since the checkpoint was saved: {', '.join(changed)}; "
            "training continues, but its results will not be bit-identical to an uninterrupted run"
        )
