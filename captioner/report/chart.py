"""Charts as geometry for an inline SVG: lines, marks, axes, and the table that says the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from captioner.report.axes import Scale, label, linear, logarithmic, short, tight
from captioner.report.downsampling import downsample, evenly_spaced
from captioner.report.history import Points

WIDTH, HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 12, 38
DIGIT, GAP = 7.5, 12
"""The width of a character of a label, and that of the space beside it; the margin `LEFT` grows with long labels."""
MAX_POINTS = 400
"""Points per line: more than one per pixel cannot be seen."""
MAX_MARKS = 40
SMALLEST = 1e-30
"""The smallest number on a log axis."""
MAX_ROWS = 25


class Series(NamedTuple):
    """A line: its points, and the number of its run, which determines colour and dashes.

    `is_main` lines are thick. Those with marks show each point, unless there are many.
    """

    label: str
    run: int
    points: Points
    is_main: bool = True
    has_marks: bool = True


@dataclass(frozen=True)
class Chart:
    """A chart to draw: titles, and lines over `x`."""

    title: str
    y: str
    series: Sequence[Series]
    is_log: bool = False
    x: str = "step"


class Line(NamedTuple):
    """A drawn line: SVG path data, and the places of its marks."""

    label: str
    run: int
    is_main: bool
    path: str
    marks: list[tuple[float, float]]


class Tick(NamedTuple):
    """A tick: its place in the picture, and its label."""

    place: float
    label: str


@dataclass(frozen=True)
class Drawing:
    """A chart with all places computed; `summary` describes it for screen readers."""

    chart: Chart
    lines: list[Line]
    across: list[Tick]
    up: list[Tick]
    summary: str
    head: list[str]
    rows: list[list[str]]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    digit: float = DIGIT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(chart: Chart) -> Drawing | None:
    """Compute the places of a chart; None if it has no points."""
    series = [one._replace(points=_drawable(one.points, chart.is_log)) for one in chart.series]
    series = [one for one in series if one.points]
    if not series:
        return None
    steps = [x for one in series for x, _ in one.points]
    values = [y for one in series for _, y in one.points]
    across = tight(min(steps), max(steps))
    up = (logarithmic if chart.is_log else linear)(min(values), max(values))
    labels = [short(tick) for tick in up.ticks]
    left = max(LEFT, math.ceil(GAP + DIGIT * max(map(len, labels))))
    lines = [_line(one, across, up, left) for one in series]
    return Drawing(
        chart=chart,
        lines=lines,
        across=[Tick(_x(tick, across, left), short(tick)) for tick in across.ticks],
        up=[Tick(_y(tick, up), text) for tick, text in zip(up.ticks, labels, strict=True)],
        summary="; ".join(map(_describe, series)),
        head=[chart.x, *(one.label for one in series)],
        rows=_rows(series),
        left=left,
    )


def _drawable(points: Points, is_log: bool) -> Points:
    return [(x, y) for x, y in points if y > SMALLEST] if is_log else points


def _x(value: float, scale: Scale, left: int) -> float:
    return round(left + scale.place(value) * (WIDTH - left - RIGHT), 1)


def _y(value: float, scale: Scale) -> float:
    return round(HEIGHT - BOTTOM - scale.place(value) * (HEIGHT - BOTTOM - TOP), 1)


def _line(one: Series, across: Scale, up: Scale, left: int) -> Line:
    places = [(_x(x, across, left), _y(y, up)) for x, y in downsample(one.points, MAX_POINTS)]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
    marks = places if (one.has_marks or len(places) == 1) and len(places) <= MAX_MARKS else []
    return Line(one.label, one.run, one.is_main, path, marks)


def _describe(one: Series) -> str:
    (_, first), (step, last) = one.points[0], one.points[-1]
    low, high = min(y for _, y in one.points), max(y for _, y in one.points)
    if len(one.points) == 1:
        return f"{one.label}: {label(last)} at {label(step)}"
    return (
        f"{one.label}: from {label(first)} to {label(last)} at {label(step)}, "
        f"minimum {label(low)}, maximum {label(high)}"
    )


def _rows(series: Sequence[Series]) -> list[list[str]]:
    """Return a table of at most `MAX_ROWS` steps; those of the line with the fewest points are preferred."""
    values = [dict(one.points) for one in series]
    fewest = min(values, key=len)
    steps = sorted(fewest if len(fewest) > 1 else {x for one in values for x in one})
    shown = evenly_spaced(steps, MAX_ROWS)
    return [[label(x), *(label(one[x]) if x in one else "" for one in values)] for x in shown]
