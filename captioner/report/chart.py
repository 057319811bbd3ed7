"""Charts as geometry for an inline SVG: axes with ticks at round numbers, lines, marks, and a table of the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from captioner.report.history import Points

T = TypeVar("T")


def downsample(points: Points, limit: int) -> Points:
    """Keep at most about `limit` points: the minimum and maximum of each of `limit` / 2 bins, and both ends.

    So a spike of a single step remains visible.
    """
    if len(points) <= limit:
        return points
    bins = limit // 2
    kept = {0, len(points) - 1}
    for number in range(bins):
        first, end = number * len(points) // bins, (number + 1) * len(points) // bins
        rows = range(first, end)
        kept |= {min(rows, key=lambda row: points[row][1]), max(rows, key=lambda row: points[row][1])}
    return [points[row] for row in sorted(kept)]


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items at even distances, the first and the last included; one is that in the middle."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    return [items[round(number * (len(items) - 1) / (count - 1))] for number in range(count)]


DECADES = 1.5
"""A log axis that spans fewer powers of ten also has ticks at 2 and 5 times a power of ten."""
NARROW = 1e-9
"""Values whose relative difference is smaller are drawn as one value."""


class Scale(NamedTuple):
    """An axis from `low` to `high`, linear or logarithmic, with ticks at round numbers."""

    low: float
    high: float
    is_log: bool
    ticks: list[float]

    def place(self, value: float) -> float:
        """Return the place of a value: 0 at the low end and 1 at the high end."""
        if self.is_log:
            low, high = math.log10(self.low), math.log10(self.high)
            return (math.log10(max(value, self.low)) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)


def linear(low: float, high: float, count: int = 5) -> Scale:
    """Make a linear axis that contains `low` and `high`, with about `count` intervals of 1, 2 or 5 times 10^k."""
    if not high - low > NARROW * max(abs(low), abs(high)):
        pad = max(abs(low), abs(high)) * 0.1 or 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1], False, ticks)


def tight(low: float, high: float) -> Scale:
    """Make a linear axis that ends at `high`, and begins at 0 or `low`; the ticks are inside."""
    if not high - low > NARROW * max(abs(low), abs(high)):
        return linear(low, high, 2)
    low = 0.0 if 0 <= low < high / 2 else low
    ticks = [tick for tick in linear(low, high).ticks if low <= tick <= high]
    return Scale(low, high, False, ticks)


def logarithmic(low: float, high: float) -> Scale:
    """Make a log axis that contains the positive numbers `low` and `high`, with ticks at powers of ten."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    is_short = math.log10(high / low) < DECADES
    factors = (1, 2, 5) if is_short else (1,)
    every = 1 if is_short else max(1, math.ceil((last - first) / 6))
    ticks = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
    below = max((tick for tick in ticks if tick <= low * 1.0000001), default=10.0**first)
    above = min((tick for tick in ticks if tick >= high * 0.9999999), default=10.0**last)
    above = above if above > below else below * 10
    return Scale(below, above, True, [tick for tick in ticks if below <= tick <= above])


def short(value: float) -> str:
    """Write the label of a tick: `label`, or 200k for 200,000, which is as short as other labels."""
    for unit, power in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= max(power, 1e4):
            return f"{label(value / power)}{unit}"
    return label(value)


def label(value: float) -> str:
    """Write a value: at most four significant digits."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e6:
        text = f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


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
