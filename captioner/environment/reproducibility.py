"""What results depend on bit by bit: thread count, NumPy, BLAS, and the choices of block widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from captioner.layers import block_width
from captioner.parallel import blas

PRODUCT = "product "
"""Prefix of the keys of block widths."""
LABELS = {"threads": "threads", "numpy": "NumPy", "blas": "BLAS"}


def environment(threads: int) -> dict[str, str]:
    """Return the thread count, library versions and block widths of this process; equal ones give bit-identical
    results.
    """
    widths = {PRODUCT + shape: choice for shape, choice in block_width.choices().items()}
    return {"threads": str(threads), "numpy": np.__version__, "blas": blas.name(), **widths}


def reuse_block_widths(before: Mapping[str, str]) -> None:
    """Use the block widths of a checkpoint's environment, if its BLAS is that of this process."""
    if before.get("blas") == blas.name():
        named = {key.removeprefix(PRODUCT): choice for key, choice in before.items() if key.startswith(PRODUCT)}
        block_width.restore(named)


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
