"""Trials in processes that are watched: one that crashes or hangs is counted, and the next trial goes on.

A trial is a picklable function of its number. It runs with thousands of others in one process, so a trial costs what it
does and no more; the watcher knows from the last answer which one a process died of.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

from captioner.errors import CaptionerError

PATIENCE = 8.0
STARTUP = 60.0
GREEDY_KIB = 512 << 10
WORKERS = min(2, os.cpu_count() or 1)
ESCAPED = ("silent", "traceback", "crashed", "hung", "greedy", "messy", "wrong")
"""Outcomes that must not be: content that was changed and taken for good, anything but an error of ours, a dead
process, one that never ends, half a gigabyte for a small file, a message that is no line, and whatever else a part
forbids."""
MOST_NOTES = 8


class Outcome(NamedTuple):
    """How one trial ended, and what is to be known of it if it was bad."""

    kind: str
    note: str = ""


@dataclass
class Tally:
    """How many trials ended in which way, and notes on the first that escaped."""

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, index: int, outcome: Outcome) -> None:
        self.counts[outcome.kind] += 1
        if outcome.kind in ESCAPED and len(self.notes) < MOST_NOTES:
            self.notes.append(f"trial {index}: {outcome.kind}: {outcome.note}"[:400])

    @property
    def escaped(self) -> int:
        return sum(self.counts[kind] for kind in ESCAPED)


def classify(
    act: Callable[[], Any], same: Callable[[Any], bool], error_type: type[CaptionerError] = CaptionerError
) -> Outcome:
    """What became of an attempt: `refused` in one line (or one a problem), or taken: `harmless` or `silent`."""
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
    """Trials `first` to `first + count`, dealt to processes."""
    tally, context = Tally(), multiprocessing.get_context("spawn")
    pool = [_Worker(context, trial, range(first + k, first + count, workers)) for k in range(min(workers, count))]
    while alive := [worker for worker in pool if worker.pending]:
        ready = wait([worker.pipe for worker in alive], timeout=0.5)
        for worker in alive:
            worker.listen(tally, worker.pipe in ready, patience)
    for worker in pool:
        worker.end()
    return tally


class _Worker:
    """A process, and the trials that it has yet to answer for."""

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
                if answer is not None:  # else: the process has begun
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
    peak = _peak()
    for number in numbers:
        try:
            outcome = trial(number)
        except BaseException as error:  # of the trial itself: a mistake in the suite shows as one
            outcome = Outcome("traceback", f"in the trial itself: {type(error).__name__}: {error}")
        before, peak = peak, _peak()
        if peak > before + GREEDY_KIB and outcome.kind not in ESCAPED:
            outcome = Outcome("greedy", f"{(peak - before) >> 10} MiB more; {outcome.kind}")
        pipe.send(outcome)
    pipe.close()


def _peak() -> int:
    """KiB, by the kernel's VmHWM where there is one: ru_maxrss of a child begins with its parent's."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
