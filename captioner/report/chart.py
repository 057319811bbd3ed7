"""The history of a run, and its curves as charts: geometry for an inline SVG, and a table of the numbers.

Widths and colours of lines are in templates/report.css.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import evenly_spaced
from captioner.training.run_folder import end_of, records

LARGEST = 1e30
"""Numbers beyond it cannot be drawn."""
Points = list[tuple[float, float]]
"""Pairs of a step and a value, by ascending step."""


@dataclass(frozen=True)
class History:
    """The records of a run by kind, in file order: logged steps, validations and warnings.

    `end` says how the run ended, and is empty while it is being trained.
    """

    steps: list[dict[str, Any]]
    validations: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    end: dict[str, Any] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        """The last step of any record, 0 without records."""
        records = *self.steps, *self.validations, *self.warnings, self.end
        return max(int(record.get("step", 0)) for record in records)

    @property
    def last_epoch(self) -> int:
        """The epoch of the last logged step or validation, 0 without records."""
        epochs = (record.get("epoch") for record in (*self.steps[-1:], *self.validations[-1:]))
        return max((epoch for epoch in epochs if isinstance(epoch, int)), default=0)


def read_history(folder: Path) -> History:
    """Read the measurements of a run folder. Missing files count as empty, and damaged lines are left out."""
    kinds: dict[str, list[dict[str, Any]]] = {"step": [], "validation": [], "warning": []}
    lines = list(records(folder / "history.jsonl"))
    for record in lines:
        kinds.get(str(record.get("kind")), []).append(record)
    return History(kinds["step"], kinds["validation"], kinds["warning"], end_of(lines))


def points(records: list[dict[str, Any]], *path: str) -> Points:
    """Return the numbers at a path of keys, such as `("scores", "cider_d")`; the last record of a step counts."""
    values: dict[float, float] = {}
    for record in records:
        value: Any = record
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if _is_number(value):
            values[float(record["step"])] = float(value)
    return sorted(values.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST


def downsample(points: Points, limit: int) -> Points:
    """Keep at most about `limit` points: the minimum and maximum of each of `limit` / 2 bins, and both ends.

    So a spike of a single step remains visible.
    """
    if len(points) <= limit:
        return points
    bins = limit // 2
    kept = {0, len(points) - 1}
    for number in range(bins):
        rows = range(number * len(points) // bins, (number + 1) * len(points) // bins)
        kept |= {min(rows, key=lambda row: points[row][1]), max(rows, key=lambda row: points[row][1])}
    return [points[row] for row in sorted(kept)]


NARROW = 1e-9
"""Values whose relative difference is smaller are drawn as one value."""
TINY = 1e-300
"""Smaller numbers are drawn as 0: steps of ticks between them would be rounded to 0."""


class Scale(NamedTuple):
    """A linear axis from `low` to `high`, with ticks at round numbers."""

    low: float
    high: float
    ticks: list[float]

    def place(self, value: float) -> float:
        """Return the place of a value: 0 at the low end and 1 at the high end."""
        return (value - self.low) / (self.high - self.low)


def _is_narrow(low: float, high: float) -> bool:
    return not high - low > max(NARROW * max(abs(low), abs(high)), TINY)


def linear(low: float, high: float, count: int = 5) -> Scale:
    """Make a linear axis that contains `low` and `high`, with about `count` intervals of 1, 2 or 5 times 10^k."""
    if _is_narrow(low, high):
        pad = max(abs(low), abs(high))
        pad = 0.1 * pad if pad > TINY else 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [number * step for number in range(first, last + 1)]
    return Scale(ticks[0], ticks[-1], ticks)


def tight(low: float, high: float) -> Scale:
    """Make a linear axis that ends at `high`, and begins at 0 or `low`; the ticks are inside."""
    if _is_narrow(low, high):
        return linear(low, high, 2)
    low = 0.0 if 0 <= low < high / 2 else low
    ticks = [tick for tick in linear(low, high).ticks if low <= tick <= high]
    return Scale(low, high, ticks)


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
MAX_ROWS = 25


class Series(NamedTuple):
    """A line and its points. `is_main` lines are thick; those with marks show each point, unless there are many."""

    label: str
    points: Points
    is_main: bool = True
    has_marks: bool = True


class Line(NamedTuple):
    """A drawn line: SVG path data, and the places of its marks."""

    series: Series
    path: str
    marks: list[tuple[float, float]]


@dataclass(frozen=True)
class Drawing:
    """A chart with all places computed; `rows` are the same numbers, also for screen readers.

    The ticks `across` and `up` are pairs of a place and a label.
    """

    title: str
    y: str
    lines: list[Line]
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    head: list[str]
    rows: list[list[str]]
    left: int
    width: int = WIDTH
    height: int = HEIGHT
    digit: float = DIGIT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(title: str, y: str, lines: Sequence[Series]) -> Drawing | None:
    """Compute the places of a chart of lines over the steps; None if it has no points."""
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    steps, values = zip(*(point for line in lines for point in line.points), strict=True)
    across = tight(min(steps), max(steps))
    up = linear(min(values), max(values))
    left = max(LEFT, math.ceil(GAP + DIGIT * max(len(label(tick)) for tick in up.ticks)))

    def x_of(step: float) -> float:
        return round(left + across.place(step) * (WIDTH - left - RIGHT), 1)

    def y_of(value: float) -> float:
        return round(HEIGHT - BOTTOM - up.place(value) * (HEIGHT - BOTTOM - TOP), 1)

    def drawn(line: Series) -> Line:
        places = [(x_of(step), y_of(value)) for step, value in downsample(line.points, MAX_POINTS)]
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places)
        has_marks = (line.has_marks or len(places) == 1) and len(places) <= MAX_MARKS
        return Line(line, path, places if has_marks else [])

    return Drawing(
        title,
        y,
        [drawn(line) for line in lines],
        [(x_of(tick), label(tick)) for tick in across.ticks],
        [(y_of(tick), label(tick)) for tick in up.ticks],
        ["step", *(line.label for line in lines)],
        _rows(lines),
        left,
    )


def _rows(lines: Sequence[Series]) -> list[list[str]]:
    """Return a table of at most `MAX_ROWS` steps; those of the line with the fewest points are preferred."""
    columns = [dict(line.points) for line in lines]
    fewest = min(columns, key=len)
    steps = sorted(fewest if len(fewest) > 1 else {step for column in columns for step in column})
    return [
        [label(step), *(label(column[step]) if step in column else "" for column in columns)]
        for step in np.array(steps)[evenly_spaced(len(steps), MAX_ROWS)].tolist()
    ]


class Curve(NamedTuple):
    """A line of a chart: the kind of records, the keys of the value, its factor, and its label."""

    records: str
    path: tuple[str, ...]
    label: str = ""
    is_main: bool = True
    factor: float = 1.0

    def series(self, history: History, title: str) -> Series:
        """Return the line of a run, which may have no points; without a label, it has the title of the chart."""
        values = [(step, self.factor * value) for step, value in points(getattr(history, self.records), *self.path)]
        return Series(self.label or title, values, self.is_main, self.records == "validations")


def _score(name: str) -> Curve:
    return Curve("validations", ("scores", name), factor=100)


CHARTS: tuple[tuple[str, str, tuple[Curve, ...]], ...] = (
    (
        "Loss",
        "nats per word",
        (Curve("validations", ("loss",), "validation"), Curve("steps", ("word_loss",), "training", False)),
    ),
    ("Reward", "mean of the sampled captions", (Curve("steps", ("reward",), is_main=False),)),
    ("CIDEr-D", "validation split", (_score("cider_d"),)),
    ("BLEU-4", "validation split", (_score("bleu4"),)),
    ("ROUGE-L", "validation split", (_score("rouge_l"),)),
    ("Learning rate", "after schedule and warm-up", (Curve("steps", ("learning_rate",)),)),
    ("Gradient norm", "global norm", (Curve("steps", ("grad_norm",), is_main=False),)),
)
"""The charts, in the order of the page: title, vertical axis, and curves."""


def curves(history: History) -> list[Drawing]:
    """Draw the curves of a run; a chart without points is omitted."""
    drawings = (draw(title, y, [curve.series(history, title) for curve in lines]) for title, y, lines in CHARTS)
    return [drawing for drawing in drawings if drawing is not None]
