"""Interleaved timing: contenders alternate in short bursts; a burst disturbed by another process is repeated."""

from __future__ import annotations

import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypeVar

Result: TypeAlias = dict[str, float]
T = TypeVar("T")
Metered: TypeAlias = tuple[T, float, bool]
"""A result, the elapsed seconds, and whether other processes used the CPU meanwhile."""

SETTLE = 0.06
"""Seconds of sleep before a burst, twice as long as idle OpenBLAS and OpenMP threads spin."""


def machine_seconds() -> float:
    """Return the CPU seconds used by the machine since boot; 0 if /proc/stat is missing."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    ticks = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")  # without idle and iowait


def own_seconds() -> float:
    """Return the CPU seconds of this process and its finished children."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Meter:
    """Measures CPU use by other processes since its creation."""

    def __init__(self) -> None:
        self.others, self.began = machine_seconds() - own_seconds(), time.perf_counter()

    def read(self) -> tuple[float, bool]:
        """Return the elapsed seconds, and whether others used over 10 % of a CPU (plus the grain of /proc/stat)."""
        elapsed, others = time.perf_counter() - self.began, machine_seconds() - own_seconds() - self.others
        return elapsed, others > 0.1 * elapsed + 0.03


def metered(measure: Callable[[], T]) -> Metered[T]:
    """Call a function of this process."""
    meter = Meter()
    value = measure()
    return value, *meter.read()


def warm_up(program: Any, timed: Callable[[Any], object], minimum: float) -> int:
    """Return the number of calls per burst, from the second call if the first, with lazy set-up, is short."""
    for _ in range(2):
        began = time.perf_counter()
        timed(program)
        calls = math.ceil(minimum / (time.perf_counter() - began))
        if calls <= 1:
            break
    return max(1, calls)


def burst(program: Any, timed: Callable[[Any], object], calls: int) -> Metered[float]:
    """Return the seconds per call."""

    def seconds() -> float:
        for _ in range(calls // 2 + 1):  # fills the caches and wakes threads: the first step after a pause is slow
            timed(program)
        began = time.perf_counter()
        for _ in range(calls):
            timed(program)
        return (time.perf_counter() - began) / calls

    return metered(seconds)


class Contender(NamedTuple):
    """A program of a process, and its method that is timed."""

    process: Any
    name: str
    timed: Callable[[Any], object] = methodcaller("step")

    def ask(self, method: str, *arguments: object) -> Any:
        """Call a method of the program in its process, and return the result."""
        return self.process.call(methodcaller(method, *arguments), self.name)

    def time(self, function: Callable[..., Any], size: float) -> Any:
        """Call `warm_up` or `burst` in the process."""
        return self.process.call(function, self.name, self.timed, size)


@dataclass
class Timer:
    """Times contenders in turn: A B C, A B C, ..., `bursts` times each, at least `minimum` seconds per burst.

    `patience` is the maximum number of seconds spent on waiting for an idle machine and on disturbed bursts. After
    that, disturbed bursts are kept and counted.
    """

    bursts: int = 3
    minimum: float = 0.1
    patience: float = 240.0
    disturbed: int = field(default=0, init=False)

    def race(self, contenders: Mapping[str, Contender]) -> dict[str, Result]:
        """Return the median of the seconds per call of each contender."""
        calls = {name: contender.time(warm_up, self.minimum) for name, contender in contenders.items()}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(self.bursts):
            for name, contender in contenders.items():
                seconds[name].append(self.undisturbed(partial(contender.time, burst, calls[name])))
        return {name: {"median": statistics.median(times)} for name, times in seconds.items()}

    def undisturbed(self, measure: Callable[[], Metered[T]]) -> T:
        """Repeat `measure` until undisturbed or out of patience; return its result."""
        while True:
            self._wait()
            value, elapsed, disturbed = measure()
            if not disturbed or self.patience <= 0:
                self.disturbed += disturbed
                return value
            self.patience -= elapsed

    def _wait(self) -> None:
        """Wait until the machine is idle or patience is used up."""
        while True:
            meter = Meter()
            time.sleep(SETTLE)
            if self.patience <= 0 or not meter.read()[1]:
                return
            time.sleep(0.5)
            self.patience -= meter.read()[0]
