"""Fair times: contenders take turns in short bursts, and a burst that another process disturbed is measured again."""

from __future__ import annotations

import math
import os
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

Call: TypeAlias = Callable[[], object]
Result: TypeAlias = dict[str, float]
T = TypeVar("T")

SETTLE = 0.06
"""Seconds before a burst: idle threads of OpenBLAS and OpenMP spin for about half as long after their last product."""


class Contender(NamedTuple):
    """What is timed, one `call` after another, and what is done once before each of its bursts."""

    call: Call
    prepare: Call


def machine_seconds() -> float:
    """CPU seconds that the whole machine has used since it started; 0 where the system does not tell."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    ticks = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
    return (sum(ticks) - sum(ticks[3:5])) / os.sysconf("SC_CLK_TCK")  # all but idle and waiting for disks


def own_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Meter:
    """Whether others use the CPUs, from when it is made."""

    def __init__(self) -> None:
        self.others, self.began = machine_seconds() - own_seconds(), time.perf_counter()

    def read(self) -> tuple[float, bool]:
        """Seconds since then, and whether others had more than a tenth of a CPU, beyond the grain of /proc/stat."""
        elapsed, others = time.perf_counter() - self.began, machine_seconds() - own_seconds() - self.others
        return elapsed, others > 0.1 * elapsed + 0.03


@dataclass
class Timer:
    """Times contenders in turn: A B C, A B C, ..., each `bursts` times for at least `least` seconds.

    `patience` is how many seconds may go into waiting for a quiet machine and into bursts measured in vain; when it
    is used up, disturbed bursts are kept, and counted.
    """

    bursts: int = 7
    least: float = 0.1
    patience: float = 240.0
    disturbed: int = field(default=0, init=False)

    def race(self, contenders: Mapping[str, Contender]) -> dict[str, Result]:
        """Of each the median and least seconds of a call, the median of `ours` over it, and disturbed bursts kept."""
        calls = {name: self._warm_up(contender) for name, contender in contenders.items()}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        kept = dict.fromkeys(contenders, 0)
        for _ in range(self.bursts):
            for name, contender in contenders.items():
                spent, disturbed = self.undisturbed(partial(self._burst, contender, calls[name]))
                seconds[name].append(spent)
                kept[name] += disturbed
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        return {
            name: {
                "median": median,
                "min": min(seconds[name]),
                "ratio": medians["ours"] / median,
                "disturbed": kept[name],
            }
            for name, median in medians.items()
        }

    def undisturbed(self, measure: Callable[[], T]) -> tuple[T, bool]:
        """What `measure` returns when no other process ran meanwhile; or at last, with True, when one did."""
        while True:
            self._wait()
            meter = Meter()
            value = measure()
            elapsed, disturbed = meter.read()
            if not disturbed or self.patience <= 0:
                self.disturbed += disturbed
                return value, disturbed
            self.patience -= elapsed

    def _wait(self) -> None:
        """Until others are quiet, as far as patience goes."""
        while True:
            meter = Meter()
            time.sleep(SETTLE)
            if self.patience <= 0 or not meter.read()[1]:
                return
            time.sleep(0.5)
            self.patience -= meter.read()[0]

    def _warm_up(self, contender: Contender) -> int:
        """Run once for what is built on first use, and again where that was quick: how many calls make a burst."""
        contender.prepare()
        for _ in range(2):
            began = time.perf_counter()
            contender.call()
            calls = math.ceil(self.least / (time.perf_counter() - began))
            if calls <= 1:
                break
        return max(1, calls)

    def _burst(self, contender: Contender, calls: int) -> float:
        contender.prepare()
        for _ in range(calls // 2 + 1):  # into the caches, and threads awake: the first step after a rest is slow
            contender.call()
        began = time.perf_counter()
        for _ in range(calls):
            contender.call()
        return (time.perf_counter() - began) / calls
