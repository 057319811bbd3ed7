"""Run trials in supervised worker processes: a crash or hang is counted, and the worker restarts with the next trial.

A trial is a picklable function of its number. Each worker runs thousands of trials, which avoids a process start per
trial. Results arrive in order, so the first trial without a result is the one that crashed or hung.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.errors import CaptionerError

PATIENCE = 8.0
STARTUP = 60.0
GREEDY_KIB = 512 << 10
WORKERS = min(2, os.cpu_count() or 1)
ESCAPED = ("silent", "traceback", "crashed", "hung", "greedy", "messy", "wrong")
"""Outcomes that count as failures: changed content accepted (silent), an exception other than the expected error
(traceback), a dead process (crashed), a timeout (hung), 512 MiB for a small file (greedy), an error message that is not
one printable line (messy), and any other violation (wrong)."""
MOST_NOTES = 8
STATUS, CLEAR_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Outcome(NamedTuple):
    """Outcome of one trial, with a note if it failed."""

    kind: str
    note: str = ""


@dataclass
class Tally:
    """Counts of outcomes, and notes on the first failures."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, index: int, outcome: Outcome) -> None:
        self.counts[outcome.kind] += 1
        if outcome.kind in ESCAPED and len(self.notes) < MOST_NOTES:
            self.notes.append(f"trial {index}: {outcome.kind}: {outcome.note}"[:400])

    @property
    def escaped(self) -> int:
        return sum(self.counts[kind] for kind in ESCAPED)


SeededTrial: TypeAlias = Callable[[int, np.random.Generator], Outcome | list[Outcome]]
"""A trial of a number, with a generator of this number, that has one or several outcomes."""


def classify(
    act: Callable[[], Any], same: Callable[[Any], bool], error_type: type[CaptionerError] = CaptionerError
) -> Outcome:
    """Run `act` and classify the result.

    `refused`: expected error with one line per problem. `harmless`: same content. `silent`: changed content accepted.
    """
    try:
        value = act()
    except error_type as error:
        lines = getattr(error, "problems", (str(error),))
        clean = all(line and line.isprintable() and len(line) < 2000 for line in lines)
        return Outcome("refused") if clean else Outcome("messy", repr(str(error)))
    except BaseException as error:
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    return Outcome("harmless") if same(value) else Outcome("silent", "taken with another content")


def run(
    trial: Callable[[int], Outcome], count: int, workers: int = WORKERS, patience: float = PATIENCE, first: int = 0
) -> Tally:
    """Distribute `count` trials, numbered from `first`, over worker processes."""
    tally, context = Tally(), multiprocessing.get_context("spawn")
    pool = [_Worker(context, trial, range(first + k, first + count, workers)) for k in range(min(workers, count))]
    while alive := [worker for worker in pool if worker.pending]:
        ready = wait([worker.pipe for worker in alive], timeout=0.5)
        for worker in alive:
            worker.listen(tally, worker.pipe in ready, patience)
    for worker in pool:
        worker.end()
    return tally


def run_in_threads(trial: SeededTrial, count: int, seed: int) -> Tally:
    """Run numbered trials in parallel threads until there are `count` outcomes."""
    tally, first = Tally(), 0
    with ThreadPoolExecutor(WORKERS) as pool:
        while tally.counts.total() < count:
            numbers = range(first, first + WORKERS)
            for ended in pool.map(lambda number: trial(number, np.random.default_rng((seed, number))), numbers):
                outcomes = ended if isinstance(ended, list) else [ended]
                for outcome in outcomes[: count - tally.counts.total()]:
                    tally.add(first, outcome)
            first += WORKERS
    return tally


class _Worker:
    """A worker process and its pending trials."""

    def __init__(self, context: Any, trial: Callable[[int], Outcome], numbers: range) -> None:
        self._context, self._trial = context, trial
        self.pending = numbers
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = self._context.Pipe(duplex=False)
        self._process = self._context.Process(target=_work, args=(self._trial, self.pending, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._deadline = time.monotonic() + STARTUP

    def listen(self, tally: Tally, ready: bool, patience: float) -> None:
        dead = ""
        try:
            while ready and self.pending and self.pipe.poll():
                answer = self.pipe.recv()
                self._deadline = time.monotonic() + patience
                if answer is not None:  # None: the process has started
                    tally.add(self.pending[0], answer)
                    self.pending = self.pending[1:]
        except EOFError:
            self._process.join()
            dead = "crashed"
        if not dead and self.pending and time.monotonic() > self._deadline:
            dead = "hung"
        if dead:
            self.end()
            tally.add(self.pending[0], Outcome(dead, f"exit code {self._process.exitcode}"))
            self.pending = self.pending[1:]
            if self.pending:
                self._start()

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _work(trial: Callable[[int], Outcome], numbers: range, pipe: Connection) -> None:
    pipe.send(None)
    peak = peak_kib()
    for number in numbers:
        try:
            outcome = trial(number)
        except BaseException as error:  # a bug in the suite itself also counts as a failure
            outcome = Outcome("traceback", f"in the trial itself: {type(error).__name__}: {error}")
        before, peak = peak, peak_kib()
        if peak > before + GREEDY_KIB and outcome.kind not in ESCAPED:
            outcome = Outcome("greedy", f"{(peak - before) >> 10} MiB more; {outcome.kind}")
        pipe.send(outcome)
    pipe.close()


def peak_kib() -> int:
    """Return the peak memory in KiB: VmHWM if available, because ru_maxrss of a child starts at its parent's value."""
    if STATUS.exists() and (peak := re.search(r"VmHWM:\s+(\d+) kB", STATUS.read_text())):
        return int(peak[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def resident_kib() -> int:
    """Return the memory in KiB that the process has now, on Linux."""
    resident = re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text())
    return int(resident[1]) if resident else 0
