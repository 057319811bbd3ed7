"""What a training depends on: the settings for bit-identical results (threads, ranks, NumPy, BLAS), and versions."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

import captioner
from captioner.errors import printable
from captioner.parallel import blas

LABELS = {"threads": "threads", "ranks": "ranks", "numpy": "NumPy", "blas": "BLAS"}

VERSIONS = {"captioner": "captioner", "python": "Python", "numpy": "NumPy", "h5py": "h5py"}
"""What the history of a run records the versions of, at its end."""


def versions() -> dict[str, str]:
    """Return the versions that the history of a run records at its end."""
    values = (captioner.__version__, platform.python_version(), np.__version__, h5py.__version__)
    return dict(zip(VERSIONS, values, strict=True))


def describe_versions(summary: Mapping[str, Any], environment: Mapping[str, str]) -> str:
    """List the versions in a summary of a training, with those of its checkpoint, which are newer after a resume."""
    recorded = summary.get("versions")
    known = {**recorded, **environment} if isinstance(recorded, dict) else environment
    return ", ".join(f"{title} {printable(known[key], 40)}" for key, title in VERSIONS.items() if key in known)


def environment(threads: int, ranks: int = 1) -> dict[str, str]:
    """Return threads, ranks and library versions; results are bit-identical if all are equal."""
    return {"threads": str(threads), "ranks": str(ranks), "numpy": np.__version__, "blas": str(blas.describe())}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning if they differ."""
    changed = [
        f"{label} {before[key]} to {now[key]}" for key, label in LABELS.items() if before.get(key, now[key]) != now[key]
    ]
    if changed:
        yield (
            f"changed since the checkpoint was saved: {', '.join(changed)}; "
            "training continues, but its results will not be bit-identical to an uninterrupted run"
        )
