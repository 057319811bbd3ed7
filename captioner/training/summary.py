"""summary.json: why training ended, the best validation, and a time profile."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import numpy as np

import captioner
from captioner.model.perplexity import perplexity

ALL_REDUCE = "all-reduce"
PARTS = ("reading", "forward", "backward", ALL_REDUCE, "update", "validation", "saving")
"""Timed phases of training. `reading` is the time spent waiting for batches; `all-reduce` is that of waiting for other
ranks and adding their gradients."""


def summarize(
    *,
    ended: str,
    step: int,
    first: int,
    best: Mapping[str, float] | None,
    seconds: float,
    spent: Mapping[str, float],
    words: int,
    threads: int,
    ranks: int,
    parameters: int,
    init_from: Mapping[str, Any] | None,
    teachers: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Summarize training from step `first` to `step`.

    `init_from` is the initialization from a checkpoint, `teachers` are those of a distillation, if any.
    """
    profile = {part: spent[part] for part in PARTS if part != ALL_REDUCE or ranks > 1}
    profile["other"] = seconds - sum(profile.values())
    return {
        "ended": ended,
        "steps": step,
        "best": best and {**best, "perplexity": perplexity(best["loss"])},
        "seconds": round(seconds, 3),
        "steps_this_time": step - first,
        "words_per_second": round(words / max(seconds, 1e-9)),
        "profile": {part: round(spent, 3) for part, spent in profile.items()},
        "threads": threads,
        "ranks": ranks,
        "parameters": parameters,
        **({"init_from": init_from} if init_from else {}),
        **({"teachers": teachers} if teachers else {}),
        "versions": {
            "captioner": captioner.__version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "h5py": h5py.__version__,
        },
    }
