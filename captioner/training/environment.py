"""What the last bits of a training depend on besides its config, and what changed in it between save and resume."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from captioner.parallel import blas

WHATS = {"threads": "threads", "numpy": "NumPy", "blas": "BLAS"}


def environment(threads: int) -> dict[str, str]:
    """The number of threads and the libraries of this process; equal ones compute equal bits."""
    return {"threads": str(threads), "numpy": np.__version__, "blas": blas.name()}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """A line where they differ; an older checkpoint does not know them, and nothing is said."""
    changed = [
        f"{what} {before[key]} to {now[key]}" for key, what in WHATS.items() if before.get(key, now[key]) != now[key]
    ]
    if changed:
        yield (
            f"changed since the checkpoint was saved: {', '.join(changed)}; "
            "the run goes on, but its last bits will not be those of an undisturbed one"
        )
