"""The settings that bit-identical results depend on: threads, ranks, NumPy and BLAS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from captioner.parallel import blas

LABELS = {"threads": "threads", "ranks": "ranks", "numpy": "NumPy", "blas": "BLAS"}
EARLIER = {"ranks": "1"}
"""What a checkpoint does not contain that was written before captioner knew ranks."""


def environment(threads: int, ranks: int = 1) -> dict[str, str]:
    """Return threads, ranks and library versions; results are bit-identical if all are equal."""
    return {"threads": str(threads), "ranks": str(ranks), "numpy": np.__version__, "blas": blas.name()}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning if they differ; keys missing from an older checkpoint are ignored."""
    before = {**EARLIER, **before}
    changed = [
        f"{label} {before[key]} to {now[key]}" for key, label in LABELS.items() if before.get(key, now[key]) != now[key]
    ]
    if changed:
        yield (
            f"changed since the checkpoint was saved: {', '.join(changed)}; "
            "training continues, but its results will not be bit-identical to an uninterrupted run"
        )
