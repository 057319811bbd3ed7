import pytest

from captioner.parallel.stopwatch import Stopwatch


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock shows next, in order."""
    shown: list[float] = []
    monkeypatch.setattr("captioner.parallel.stopwatch.perf_counter", lambda: shown.pop(0))
    return shown


def test_a_part_adds_up_and_no_other_has_its_time(ticks: list[float]) -> None:
    ticks += [1.0, 3.0, 10.0, 14.5, 20.0, 20.25]
    watch = Stopwatch()
    for part in ("reading", "forward", "reading"):
        with watch(part):
            pass
    assert watch.seconds == {"reading": 2.25, "forward": 4.5}


def test_a_part_that_fails_took_its_time_too(ticks: list[float]) -> None:
    ticks += [1.0, 3.0]
    watch = Stopwatch()
    with pytest.raises(ZeroDivisionError), watch("update"):
        _ = 1 / 0
    assert watch.seconds == {"update": 2.0}
    assert watch.seconds["never"] == 0.0
