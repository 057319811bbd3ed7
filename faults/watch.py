"""Run trials in worker processes or in threads, and count their outcomes.

A trial is a function of its number. A crash or a hang of a worker is an outcome too; the other trials run.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.errors import CaptionerError

PATIENCE = 60.0
"""Maximum seconds of a trial in a worker process."""
WORKERS = min(2, os.cpu_count() or 1)
ESCAPED = ("silent", "traceback", "hung", "messy", "wrong")
"""Outcomes that count as failures: changed content accepted (silent), an exception other than the expected error
(traceback), no result in time, also after a crash (hung), an error message that is not one printable line (messy), and
any other violation (wrong)."""
MOST_NOTES = 8


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


def run(trial: Callable[[int], Outcome], count: int, patience: float = PATIENCE) -> Tally:
    """Distribute `count` trials over worker processes; after a trial without a result, new ones start with the next."""
    tally, context = Tally(), multiprocessing.get_context("spawn")
    while (first := tally.counts.total()) < count:
        with context.Pool(min(WORKERS, count)) as pool:
            pool.map(_load, [trial] * WORKERS)  # so that the time of a trial has no imports
            results = pool.imap(partial(_attempt, trial), range(first, count))
            for number in range(first, count):
                try:
                    tally.add(number, results.next(patience))
                except multiprocessing.TimeoutError:
                    tally.add(number, Outcome("hung", "no result"))
                    break
    return tally


def _load(trial: object) -> None:
    """Import the modules of a trial, which happens before this is called."""


def _attempt(trial: Callable[[int], Outcome], number: int) -> Outcome:
    try:
        return trial(number)
    except BaseException as error:  # a bug in the suite itself also counts as a failure
        return Outcome("traceback", f"in the trial itself: {type(error).__name__}: {error}")


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
