"""The session of a benchmark run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders import Build, Process
from benchmarks.results import over_processes
from benchmarks.timing import Contender, Result, Timer

ROOT = Path(__file__).parents[1]
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class Session:
    """One run of the benchmarks; `quick` is a smoke test with tiny sizes."""

    timer: Timer
    quick: bool = False
    notes: list[str] = field(default_factory=list)
    threads: tuple[int, ...] = (1, 2)[:CPUS]
    has_torch: bool = find_spec("torch") is not None

    starts: int = 3
    start: Callable[[str, int, Build], Process] = Process

    def race(
        self,
        title: str,
        threads: int,
        builds: Sequence[tuple[str, Build]],
        heats: Callable[[dict[str, Contender]], Mapping[str, Mapping[str, Contender]]],
    ) -> dict[str, dict[str, Result]]:
        """Start a process for each library and its build, and race the contenders of each heat; do this `starts` times.

        `heats` checks the contenders and returns those of each heat. The medians are logged to stderr.
        """
        rounds = []
        for _ in range(self.starts):
            processes = [self.start(library, threads, build) for library, build in builds]
            try:
                contenders = {name: Contender(process, name) for process in processes for name in process.names}
                rounds.append({heat: self.timer.race(those) for heat, those in heats(contenders).items()})
            finally:
                for process in processes:
                    process.close()
        races = {heat: over_processes([races[heat] for races in rounds]) for heat in rounds[0]}
        for heat, race in races.items():
            times = ", ".join(f"{name} {1e3 * took['median']:.4g}" for name, took in race.items())
            self.say(f"{title}, {heat}: {times} ms")
        return races

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Log a note to stderr and add it to the results."""
        self.notes.append(text)
        self.say(text)
