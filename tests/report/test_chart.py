"""Charts: ticks at round numbers, all values inside, downsampling that keeps spikes, a table of the numbers."""

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captioner.report.chart import (
    CHARTS,
    DIGIT,
    MAX_MARKS,
    MAX_POINTS,
    MAX_ROWS,
    Drawing,
    History,
    Scale,
    Series,
    curves,
    downsample,
    draw,
    label,
    linear,
    tight,
)

VALUES = st.floats(-1e30, 1e30, allow_nan=False)
SLACK = 1e-6


def check(scale: Scale, low: float, high: float, most: int) -> None:
    assert 1 <= len(scale.ticks) <= most
    assert scale.ticks == sorted(set(scale.ticks))
    for value in (low, high, *scale.ticks):
        assert -SLACK <= scale.place(value) <= 1 + SLACK
    assert scale.place(high) >= scale.place(low)


@pytest.mark.parametrize("axis", [linear, tight])
@example([0, 5e-324])
@example([1e-300, 1.2e-300])
@given(st.lists(VALUES, min_size=2, max_size=2))
def test_a_linear_axis_contains_its_values(axis: Callable[[float, float], Scale], values: list[float]) -> None:
    low, high = sorted(values)
    check(axis(low, high), low, high, 8)


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (linear(0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (linear(3, 97), [0, 20, 40, 60, 80, 100]),
        (linear(5, 5), [4.4, 4.6, 4.8, 5, 5.2, 5.4, 5.6]),
        (tight(10, 628), [0, 200, 400, 600]),
    ],
)
def test_ticks_are_round(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"), (0.003, "0.003"), (1234, "1,234"), (0.1 + 0.2, "0.3"), (2.83293, "2.833"), (1e-5, "1e-5"),
        (-20, "-20"), (200_000, "200,000"), (1.5e6, "1.5e6"),
    ],
)  # fmt: skip
def test_labels_of_ticks_are_short(value: float, expected: str) -> None:
    assert label(value) == expected


def places(drawing: Drawing) -> list[tuple[float, float]]:
    pairs = (pair.split() for line in drawing.lines for pair in re.split("[ML]", line.path)[1:])
    return [(float(x), float(y)) for x, y in pairs]


@given(st.dictionaries(st.integers(0, 10**9), VALUES, max_size=30))
def test_every_point_is_inside_the_box(values: dict[int, float]) -> None:
    points = sorted((float(step), value) for step, value in values.items())
    drawing = draw("a", "b", [Series("c", points)])
    if drawing is None:
        assert not values
        return
    assert drawing.left >= DIGIT * max(len(text) for _, text in drawing.up)
    for x, y in (*places(drawing), *(mark for line in drawing.lines for mark in line.marks)):
        assert drawing.left <= x <= drawing.right
        assert drawing.top <= y <= drawing.bottom
    assert all(drawing.top <= place <= drawing.bottom for place, _ in drawing.up)
    assert all(drawing.left <= place <= drawing.right for place, _ in drawing.across)


def test_the_picture_is_true() -> None:
    drawing = draw("a", "b", [Series("c", [(0, 0), (50, 5), (100, 10)])])
    assert drawing is not None
    (x0, y0), (x1, y1), (x2, y2) = places(drawing)
    assert (x0, y0, x2, y2) == (drawing.left, drawing.bottom, drawing.right, drawing.top)
    assert (x1, y1) == pytest.approx(((x0 + x2) / 2, (y0 + y2) / 2), abs=0.1)


def test_thousands_of_points_are_thinned_and_a_spike_remains() -> None:
    points = [(float(step), 1.0) for step in range(20_000)]
    points[12_345] = (12_345.0, 9.0)
    kept = downsample(points, MAX_POINTS)
    assert len(kept) <= MAX_POINTS + 2
    assert {points[0], points[12_345], points[-1]} <= set(kept)
    assert kept == sorted(kept)
    drawing = draw("a", "b", [Series("c", points)])
    assert drawing is not None
    assert len(drawing.lines[0].path) < 20 * MAX_POINTS
    assert (len(drawing.lines[0].marks), len(drawing.rows)) == (0, MAX_ROWS)


def test_few_points_are_unchanged() -> None:
    points = [(float(step), step % 3.0) for step in range(MAX_MARKS)]
    assert downsample(points, MAX_POINTS) == points


def test_the_table_has_the_values() -> None:
    lines = [Series("one", [(1, 0.5), (2, 0.25)]), Series("two", [(2, 3000.0)])]
    drawing = draw("a", "b", lines)
    assert drawing is not None
    assert drawing.head == ["step", "one", "two"]
    assert drawing.rows == [["1", "0.5", ""], ["2", "0.25", "3,000"]]


def history(step: int, loss: float) -> History:
    scores = {"bleu4": 0.25, "rouge_l": 0.5, "cider_d": 1.0}
    validation = {"step": step, "loss": loss, "perplexity": 2.0, "scores": scores}
    logged = {"word_loss": 3.0, "perplexity": 20.0, "learning_rate": 1e-3, "grad_norm": 5.0, "reward": 1.0}
    return History([{"step": 1, **logged}], [validation], [])


def test_the_curves_of_a_run() -> None:
    drawn = {drawing.title: drawing for drawing in curves(history(5, 2.0))}
    assert list(drawn) == [title for title, *_ in CHARTS]
    assert [(line.series.label, line.series.is_main) for line in drawn["Loss"].lines] == [
        ("validation", True), ("training", False),
    ]  # fmt: skip
    assert (drawn["CIDEr-D"].head, drawn["CIDEr-D"].rows) == (["step", "CIDEr-D"], [["5", "100"]])


def test_a_chart_without_points_is_omitted() -> None:
    assert curves(History([], [], [])) == []
    (drawing,) = curves(History([{"step": 1, "learning_rate": 0.1}], [], []))
    assert drawing.title == "Learning rate"
