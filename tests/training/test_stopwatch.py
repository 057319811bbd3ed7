"""The stopwatch."""

import pytest

from captioner.training.stopwatch import Stopwatch


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The next times of the clock."""
    times: list[float] = []
    monkeypatch.setattr("captioner.training.stopwatch.perf_counter", lambda: times.pop(0))
    return times


def test_seconds_are_added_up_by_part(ticks: list[float]) -> None:
    ticks += [1.0, 3.0, 10.0, 14.5, 20.0, 20.25]
    watch = Stopwatch()
    for part in ("reading", "forward", "reading"):
        with watch(part):
            pass
    assert watch.seconds == {"reading": 2.25, "forward": 4.5}


def test_a_part_that_raises_is_measured(ticks: list[float]) -> None:
    ticks += [1.0, 3.0]
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch("update"):
        _ = 1 / 0
    assert watch.seconds == {"update": 2.0}
    assert watch.seconds["never"] == 0.0
