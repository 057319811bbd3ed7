"""Contenders take turns, and bursts disturbed by other processes are measured again."""

from functools import partial

import pytest

from benchmarks import timing
from benchmarks.timing import Contender, Timer


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    contenders = {
        name: Contender(partial(calls.append, name), partial(calls.append, name.upper())) for name in ("ours", "b")
    }
    times = Timer(3, 0, 0).race(contenders)
    once, warm = ["OURS", "ours", "B", "b"], ["OURS", "ours", "ours", "B", "b", "b"]
    assert calls == once + warm * 3, "one warm-up, then three bursts, each after one untimed call"
    assert times.keys() == {"ours", "b"}
    assert all(took["min"] <= took["median"] for took in times.values())


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
    assert timer.undisturbed(cpus.burst) == (3, False)
    assert timer.disturbed == 0


def test_a_disturbed_burst_is_kept_and_counted_once_patience_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, timer = Cpus(monkeypatch, [1.0, 1.0, 0.0]), Timer(patience=1e-12)
    assert timer.undisturbed(cpus.burst) == (2, True)
    assert timer.disturbed == 1


def test_nothing_is_measured_before_the_machine_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    cpus, timer = Cpus(monkeypatch, [0.0], asleep=5), Timer()
    assert timer.undisturbed(cpus.burst) == (1, False)
    assert cpus.sleeps > 5
