"""Axes contain their values, and have few ticks at round numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.report.axes import Scale, label, linear, logarithmic, short, tight

VALUES = st.floats(-1e30, 1e30, allow_nan=False)
POSITIVE = st.floats(1e-30, 1e30, allow_nan=False)
SLACK = 1e-6


def check(scale: Scale, low: float, high: float, most: int) -> None:
    assert 1 <= len(scale.ticks) <= most
    assert scale.ticks == sorted(set(scale.ticks))
    for value in (low, high, *scale.ticks):
        assert -SLACK <= scale.place(value) <= 1 + SLACK
    assert scale.place(high) >= scale.place(low)


@given(VALUES, VALUES)
def test_a_linear_axis_contains_its_values(one: float, two: float) -> None:
    low, high = sorted((one, two))
    check(linear(low, high), low, high, 8)


@given(VALUES, VALUES)
def test_a_tight_axis_contains_its_values(one: float, two: float) -> None:
    low, high = sorted((one, two))
    check(tight(low, high), low, high, 8)


@given(POSITIVE, POSITIVE)
def test_a_log_axis_contains_its_values(one: float, two: float) -> None:
    low, high = sorted((one, two))
    check(logarithmic(low, high), low, high, 10)


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (linear(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (linear(3, 97), [0, 20, 40, 60, 80, 100]),
        (linear(5, 5), [4.4, 4.6, 4.8, 5, 5.2, 5.4, 5.6]),
        (tight(10, 628), [0, 200, 400, 600]),
        (logarithmic(1.1, 17), [1, 2, 5, 10, 20]),
        (logarithmic(3, 3), [2, 5]),
        (logarithmic(1e-3, 2e2), [1e-3, 1e-2, 0.1, 1, 10, 100, 1000]),
    ],
)
def test_ticks_are_round(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks == pytest.approx(ticks)


def test_a_log_axis_has_equal_distances_for_equal_factors() -> None:
    scale = logarithmic(1, 100)
    assert scale.place(10) == pytest.approx(0.5)
    assert scale.place(math.sqrt(10)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (0.003, "0.003"), (1234, "1,234"), (0.1 + 0.2, "0.3"), (2.83293, "2.833"), (1e-5, "1e-5"), (-20, "-20")],
)
def test_labels(value: float, expected: str) -> None:
    assert label(value) == expected == short(value)


@pytest.mark.parametrize(("value", "expected"), [(200_000, "200k"), (10_000, "10k"), (9_000, "9,000"), (1.5e6, "1.5M")])
def test_ticks_of_large_numbers_are_short(value: float, expected: str) -> None:
    assert short(value) == expected
