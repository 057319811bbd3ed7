"""Charts: all lines are inside the box, many points are downsampled, and a table says the same."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.report.chart import MAX_MARKS, MAX_POINTS, MAX_ROWS, Chart, Drawing, Series, draw
from captioner.report.curves import PLOTS, curves
from captioner.report.downsampling import downsample, evenly_spaced
from captioner.report.history import History

VALUES = st.floats(-1e30, 1e30, allow_nan=False)


def places(drawing: Drawing) -> list[tuple[float, float]]:
    pairs = (pair.split() for line in drawing.lines for pair in re.split("[ML]", line.path)[1:])
    return [(float(x), float(y)) for x, y in pairs]


@given(st.dictionaries(st.integers(0, 10**9), VALUES, max_size=30), st.booleans())
def test_every_point_is_inside_the_box(values: dict[int, float], is_log: bool) -> None:
    points = sorted((float(step), value) for step, value in values.items())
    drawing = draw(Chart("a", "b", [Series("c", 0, points)], is_log))
    if drawing is None:
        assert all(is_log and value <= 1e-30 for value in values.values())
        return
    for x, y in (*places(drawing), *(mark for line in drawing.lines for mark in line.marks)):
        assert drawing.left <= x <= drawing.right
        assert drawing.top <= y <= drawing.bottom
    assert all(drawing.top <= tick.place <= drawing.bottom for tick in drawing.up)
    assert all(drawing.left <= tick.place <= drawing.right for tick in drawing.across)


def test_the_picture_is_true() -> None:
    drawing = draw(Chart("a", "b", [Series("c", 0, [(0, 0), (50, 5), (100, 10)])]))
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
    drawing = draw(Chart("a", "b", [Series("c", 0, points)]))
    assert drawing is not None
    assert len(drawing.lines[0].path) < 20 * MAX_POINTS
    assert (len(drawing.lines[0].marks), len(drawing.rows)) == (0, MAX_ROWS)
    assert "maximum 9" in drawing.summary


def test_few_points_are_unchanged() -> None:
    points = [(float(step), step % 3.0) for step in range(MAX_MARKS)]
    assert downsample(points, MAX_POINTS) == points
    assert evenly_spaced(range(5), 9) == [0, 1, 2, 3, 4]
    assert evenly_spaced(range(9), 3) == [0, 4, 8]
    assert evenly_spaced(range(9), 1) == [4]


def test_the_table_has_the_values() -> None:
    lines = [Series("one", 0, [(1, 0.5), (2, 0.25)]), Series("two", 1, [(2, 3000.0)])]
    drawing = draw(Chart("a", "b", lines))
    assert drawing is not None
    assert drawing.head == ["step", "one", "two"]
    assert drawing.rows == [["1", "0.5", ""], ["2", "0.25", "3,000"]]
    assert drawing.summary == "one: from 0.5 to 0.25 at 2, minimum 0.25, maximum 0.5; two: 3,000 at 2"


def history(step: int, loss: float) -> History:
    scores = {"bleu4": 0.25, "rouge_l": 0.5, "cider_d": 1.0}
    validation = {"step": step, "loss": loss, "perplexity": 2.0, "scores": scores}
    logged = {"word_loss": 3.0, "perplexity": 20.0, "learning_rate": 1e-3, "grad_norm": 5.0, "reward": 1.0}
    return History([{"step": 1, **logged}], [validation], [], [{"step": 1, "words_per_second": 9.0}])


def test_runs_are_overlaid() -> None:
    drawn = {one.chart.title: one for one in curves({"a": history(5, 2.0), "b": history(7, 1.0)})}
    assert list(drawn) == [plot.title for plot in PLOTS]
    lines = [(line.label, line.run, line.is_main) for line in drawn["Loss"].lines]
    assert lines == [
        ("a, validation", 0, True), ("b, validation", 1, True), ("a, training", 0, False), ("b, training", 1, False),
    ]  # fmt: skip
    assert drawn["CIDEr-D"].rows == [["5", "100", ""], ["7", "", "100"]]


def test_a_chart_without_points_is_omitted() -> None:
    assert curves({"a": History([], [], [], [])}) == []
    assert [one.chart.title for one in curves({"a": History([{"step": 1, "learning_rate": 0.1}], [], [], [])})] == [
        "Learning rate"
    ]
