"""The settings that bit-identical results depend on: threads, ranks, NumPy, BLAS and autotuned choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from captioner.layers.autotune import CHOICES
from captioner.parallel import blas
from captioner.parallel.ranks import Ranks

CHOICE = "choice: "
"""Prefix of the keys of autotuned choices."""
LABELS = {"threads": "threads", "ranks": "ranks", "numpy": "NumPy", "blas": "BLAS"}
EARLIER = {"ranks": "1"}
"""What a checkpoint does not contain that was written before captioner knew ranks."""


def environment(threads: int, ranks: int = 1) -> dict[str, str]:
    """Return threads, ranks, library versions and autotuned choices; results are bit-identical if all are equal."""
    choices = {CHOICE + name: choice for name, choice in CHOICES.made().items()}
    versions = {"numpy": np.__version__, "blas": blas.name()}
    return {"threads": str(threads), "ranks": str(ranks), **versions, **choices}


def share_choices(ranks: Ranks) -> None:
    """Use the same autotuned choices on all ranks: of several choices with one name, that of the lowest rank."""
    for choices in reversed(ranks.all_gather(CHOICES.made())):
        CHOICES.restore(choices)


def reuse_choices(before: Mapping[str, str]) -> None:
    """Use the autotuned choices of a checkpoint's environment, if its BLAS is that of this process."""
    if before.get("blas") == blas.name():
        CHOICES.restore({key.removeprefix(CHOICE): value for key, value in before.items() if key.startswith(CHOICE)})


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
