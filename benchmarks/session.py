"""The session of a benchmark run, thread counts of the libraries, and subprocesses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.timing import Contender, Result, Timer
from captioner.parallel.blas import set_threads

ROOT = Path(__file__).parents[1]
SMALL = (
    *(f"data.scenes.{split}={count}" for split, count in {"train": 40, "val": 10, "test": 5, "heldout": 5}.items()),
    *("model.wordvec_dim=256", "model.hidden_dim=512", "train.max_steps=1"),
)
"""Options of a quick training of a model of the default size."""
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Session:
    """One run of the benchmarks; `quick` is a smoke test with tiny sizes."""

    timer: Timer
    quick: bool = False
    notes: list[str] = field(default_factory=list)
    threads: tuple[int, ...] = (1, 2)[:CPUS]
    has_torch: bool = find_spec("torch") is not None

    def race(self, title: str, contenders: Mapping[str, Contender]) -> dict[str, Result]:
        """Run `Timer.race` and log the medians to stderr."""
        times = self.timer.race(contenders)
        self.say(f"{title}: " + ", ".join(f"{name} {1e3 * took['median']:.4g}" for name, took in times.items()) + " ms")
        return times

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Log a note to stderr and add it to the results."""
        self.notes.append(text)
        self.say(text)


def run(*words: object) -> str:
    """Run a Python command in the project folder and return its stdout; it must succeed."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def set_library_threads(library: str, count: int) -> None:
    """Set the threads of `numpy` or `torch`, and one thread for the other, whose idle threads would spin.

    For `pool`, captioner's thread pool, both get one thread.
    """
    set_threads(count if library == "numpy" else 1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count if library == "torch" else 1)
