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
SCRIPT = Path(sys.executable).with_name("captioner")
CAPTIONER = (SCRIPT,) if SCRIPT.exists() else ("-m", "captioner")
"""The command, as arguments of `run`."""
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Session:
    """One run of the benchmarks; `quick` is a smoke test with tiny sizes."""

    timer: Timer
    quick: bool = False
    flickr8k: Path = ROOT / "data" / "flickr8k"
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
    """Run a Python command in the project folder and return its stdout; it must succeed.

    It may write bytecode, as for any user: without, each start would compile captioner again.
    """
    command = [sys.executable, *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=environment).stdout


def set_library_threads(library: str, count: int) -> None:
    """Set the threads of `numpy` or `torch`, and one thread for the other, whose idle threads would spin.

    For `pool`, captioner's thread pool, both get one thread.
    """
    set_threads(count if library == "numpy" else 1)
    if "torch" in sys.modules:  # importing it here would distort memory measurements
        sys.modules["torch"].set_num_threads(count if library == "torch" else 1)
