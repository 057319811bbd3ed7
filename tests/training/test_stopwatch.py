"""The stopwatch measures the seconds of each part of a training, and changes nothing."""

import pytest
from small_solver import assert_equal, batches, model, plan, run

import captioner.training.solver
from captioner.training.solver import TrainState, steps
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


def test_the_stopwatch_measures_every_phase_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def with_duration(seconds: float, work):
        def timed(*args, **options):
            clock[0] += seconds
            return work(*args, **options)

        return timed

    monkeypatch.setattr("captioner.training.stopwatch.perf_counter", lambda: clock[0])
    trained, source, how, watch = model(), batches(), plan(3, clip_norm=1.0), Stopwatch()
    state = TrainState.fresh(trained, how.rule)
    for owner, name, seconds in (
        (source, "batch", 1),
        (trained, "forward", 10),
        (trained, "backward", 100),
        (captioner.training.solver, "global_norm", 1000),
        (captioner.training.solver, "update", 10_000),
    ):
        monkeypatch.setattr(owner, name, with_duration(seconds, getattr(owner, name)))
    for _ in steps(trained, source, state, how, watch):
        clock[0] += 1e6
    assert watch.seconds == {"reading": 3, "forward": 30, "backward": 300, "all-reduce": 0, "update": 36_000}


def test_the_stopwatch_does_not_change_training() -> None:
    timed, untimed = model(), model()
    watch, how = Stopwatch(), plan(5)
    records = list(steps(timed, batches(), TrainState.fresh(timed, how.rule), how, watch))
    assert records == run(untimed, how)
    assert_equal(timed.params, untimed.params)
    assert all(seconds > 0 for seconds in watch.seconds.values())
