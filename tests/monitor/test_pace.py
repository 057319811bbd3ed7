"""The remaining time of a training run, and how times are written."""

import time

import pytest

from captioner.monitor.durations import clock, duration
from captioner.monitor.pace import WINDOW, Pace


def test_the_remaining_time_follows_the_recorded_steps() -> None:
    pace = Pace()
    assert pace.remaining(100, 1000.0) is None
    pace.observe(1000.0, 10, 100.0, "first")
    assert pace.remaining(100, 1000.0) is None
    pace.observe(1005.0, 20, 100.0, "first")
    assert pace.remaining(100, 1005.0) == 40.0
    assert pace.remaining(100, 1015.0) == 30.0, "it passes between records"
    assert pace.remaining(100, 9999.0) == 0.0
    pace.observe(1010.0, 20, 100.0, "first")  # a validation
    assert pace.remaining(100, 1010.0) == 80.0, "with the pause"
    pace.observe(1012.0, 24, 200.0, "first")
    assert list(pace.speeds) == [{"step": 20, "words_per_second": 200.0}, {"step": 24, "words_per_second": 400.0}]


@pytest.mark.parametrize(("step", "session"), [(40, "second"), (5, "first")])
def test_a_break_is_no_pause(step: int, session: str) -> None:
    pace = Pace()
    pace.observe(1000.0, 10, 100.0, "first")
    pace.observe(1010.0, 20, 100.0, "first")
    pace.observe(5000.0, step, 100.0, session)
    assert pace.remaining(100, 5000.0) is None
    pace.observe(5001.0, step + 1, 100.0, session)
    assert pace.remaining(step + 11, 5001.0) == 10.0
    assert [one["step"] for one in pace.speeds] == [one for one in (20,) if one < step] + [step + 1]


def test_the_pace_of_long_ago_is_forgotten() -> None:
    pace = Pace()
    for step in range(WINDOW):
        pace.observe(100.0 * step, step, 100.0, "one")
    start = 100.0 * WINDOW
    for step in range(WINDOW):
        pace.observe(start + step, WINDOW + step, 100.0, "one")
        pace.observe(start + step, WINDOW + step, 100.0, "one")
    assert pace.remaining(2 * WINDOW, start + WINDOW - 1) == 1.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"),
        (86399, "23 h 59 min"), (90000, "1 d 1 h"), (8640000, "100 d 0 h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_time_of_another_day_has_its_date() -> None:
    noon = time.mktime((2026, 3, 5, 12, 7, 0, 0, 0, -1))
    assert clock(noon, noon + 60) == "12:07"
    assert clock(noon, noon + 86400) == "2026-03-05 12:07"
