"""Contenders take turns, and bursts disturbed by other processes are measured again."""

import os
from functools import partial

import pytest

from benchmarks import timing
from benchmarks.contenders import Process
from benchmarks.results import over_processes
from benchmarks.session import Session
from benchmarks.timing import Timer, metered
from captioner.parallel.machine import describe_blas, use_huge_pages


class Program:
    """Records its calls."""

    def __init__(self, calls: list[str], name: str) -> None:
        self.step = partial(calls.append, name)


def settings() -> dict[str, object]:
    """Return the settings of this process, as its program."""
    return {"settings": [os.getpid(), describe_blas().threads, use_huge_pages.cache_info().currsize == 1]}


def test_contenders_take_turns_in_each_start(session: Session) -> None:
    calls: list[str] = []
    builds = [("captioner", lambda name=name: {name: Program(calls, name)}) for name in ("ours", "b")]
    session.timer.bursts, session.starts = 3, 2
    times = session.race("title", 1, builds, lambda contenders: {"heat": contenders})["heat"]
    once, warm = ["ours", "b"], ["ours", "ours", "b", "b"]
    assert calls == (once + warm * 3) * 2, "one warm-up, then three bursts, each after one untimed call"
    assert times.keys() == {"ours", "b"}


def test_races_in_several_processes_are_joined() -> None:
    races = [{"ours": {"median": median}} for median in (1.0, 1.5, 1.2)]
    assert over_processes(races) == {"ours": {"median": 1.2, "spread": 0.5}}


@pytest.mark.parametrize("library", ["captioner", "loops", "floor"])
def test_a_process_has_the_memory_and_threads_of_its_library(library: str) -> None:
    process = Process(library, 2, settings)
    try:
        assert process.names == ["settings"]
        pid, threads, has_huge_pages = process.call(tuple, "settings")
    finally:
        process.close()
    assert pid != os.getpid()
    assert threads == (1 if library == "captioner" else 2)
    assert has_huge_pages == (library != "loops")


class Cpus:
    """A fake machine: CPU seconds of other processes and of this one during sleeps and bursts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, others: list[float], asleep: int = 0) -> None:
        self.machine = self.own = 0.0
        self.others, self.asleep, self.bursts, self.sleeps = others, asleep, 0, 0
        monkeypatch.setattr(timing, "machine_seconds", lambda: self.machine)
        monkeypatch.setattr(timing, "own_seconds", lambda: self.own)
        monkeypatch.setattr(timing.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        self.machine += 1.0 if self.sleeps <= self.asleep else 0.0

    def burst(self) -> int:
        self.own += 1.0
        self.machine += 1.0 + self.others[self.bursts]
        self.bursts += 1
        return self.bursts


def test_a_disturbed_burst_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, timer = Cpus(monkeypatch, [1.0, 0.5, 0.0]), Timer()
    assert timer.undisturbed(partial(metered, cpus.burst)) == 3
    assert timer.disturbed == 0


def test_a_disturbed_burst_is_kept_and_counted_once_patience_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, timer = Cpus(monkeypatch, [1.0, 1.0, 0.0]), Timer(patience=1e-12)
    assert timer.undisturbed(partial(metered, cpus.burst)) == 2
    assert timer.disturbed == 1


def test_nothing_is_measured_before_the_machine_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, timer = Cpus(monkeypatch, [0.0], asleep=5), Timer()
    assert timer.undisturbed(partial(metered, cpus.burst)) == 1
    assert cpus.sleeps > 5
