"""What every benchmark is given, and what several need: threads for one library at a time, and subprocesses."""

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
SCRIPT = Path(sys.executable).with_name("captioner")
CAPTIONER = (SCRIPT,) if SCRIPT.exists() else ("-m", "captioner")
"""The command, as `run` takes it."""
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Session:
    """One run of the benchmarks. `quick` proves that they run, at sizes that mean nothing."""

    timer: Timer
    quick: bool = False
    flickr8k: Path = ROOT / "data" / "flickr8k"
    notes: list[str] = field(default_factory=list)
    threads: tuple[int, ...] = (1, 2)[:CPUS]
    has_torch: bool = find_spec("torch") is not None

    def race(self, title: str, contenders: Mapping[str, Contender]) -> dict[str, Result]:
        """`Timer.race`, told on stderr."""
        times = self.timer.race(contenders)
        self.say(f"{title}: " + ", ".join(f"{name} {1e3 * took['median']:.4g}" for name, took in times.items()) + " ms")
        return times

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Say it, and again in the results."""
        self.notes.append(text)
        self.say(text)


def run(*words: object) -> str:
    """What a command prints that must succeed, run by this interpreter in the project's folder."""
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def give(library: str, count: int) -> None:
    """So many threads to `numpy` or `torch`, one to the other: its pool must not spin meanwhile.

    Neither gets more than one when a `team` computes: it brings its own.
    """
    set_threads(count if library == "numpy" else 1)
    if "torch" in sys.modules:  # to measure memory, it must not be imported in passing
        sys.modules["torch"].set_num_threads(count if library == "torch" else 1)
