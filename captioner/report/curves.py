"""The curves of runs: what `history.jsonl` and `speed.jsonl` contain, as charts with all runs overlaid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from captioner.report.chart import Chart, Drawing, Series, draw
from captioner.report.history import History, Points, points


class Curve(NamedTuple):
    """A line of a chart: the kind of records, the keys of the value, its factor, and what it is called."""

    records: str
    path: tuple[str, ...]
    label: str = ""
    factor: float = 1.0
    is_main: bool = True


class Plot(NamedTuple):
    """A chart of every report: titles, and its curves."""

    title: str
    y: str
    curves: tuple[Curve, ...]
    is_log: bool = False


def _score(name: str) -> tuple[Curve, ...]:
    return (Curve("validations", ("scores", name), factor=100),)


PLOTS: tuple[Plot, ...] = (
    Plot(
        "Loss",
        "nats per word",
        (
            Curve("validations", ("loss",), "validation"),
            Curve("steps", ("word_loss",), "training", is_main=False),
        ),
    ),
    Plot(
        "Perplexity",
        "log scale",
        (
            Curve("validations", ("perplexity",), "validation"),
            Curve("steps", ("perplexity",), "training", is_main=False),
        ),
        is_log=True,
    ),
    Plot(
        "Reward",
        "CIDEr-D",
        (
            Curve("steps", ("greedy_reward",), "greedy captions"),
            Curve("steps", ("reward",), "sampled captions", is_main=False),
        ),
    ),
    Plot("CIDEr-D", "validation split", _score("cider_d")),
    Plot("BLEU-4", "validation split", _score("bleu4")),
    Plot("ROUGE-L", "validation split", _score("rouge_l")),
    Plot("Learning rate", "after schedule and warm-up", (Curve("steps", ("learning_rate",)),)),
    Plot("Gradient norm", "global norm, log scale", (Curve("steps", ("grad_norm",), is_main=False),), is_log=True),
    Plot("Speed", "words per second", (Curve("speeds", ("words_per_second",)),)),
)
"""The charts, in the order of the page; a chart without points is omitted."""


def curves(histories: Mapping[str, History]) -> list[Drawing]:
    """Draw the curves of runs, by the names of the runs."""
    drawings = (draw(_chart(plot, histories)) for plot in PLOTS)
    return [drawing for drawing in drawings if drawing is not None]


def _chart(plot: Plot, histories: Mapping[str, History]) -> Chart:
    lines = [
        Series(_label(name, curve.label, len(histories)), run, found, curve.is_main, curve.records == "validations")
        for curve in plot.curves
        for run, (name, history) in enumerate(histories.items())
        if (found := _points(history, curve))
    ]
    return Chart(plot.title, plot.y, lines, plot.is_log)


def _label(run: str, curve: str, runs: int) -> str:
    return ", ".join(filter(None, (run, curve))) if runs > 1 else curve or run


def _points(history: History, curve: Curve) -> Points:
    records: Sequence[dict[str, object]] = getattr(history, curve.records)
    return [(step, curve.factor * value) for step, value in points(list(records), *curve.path)]
