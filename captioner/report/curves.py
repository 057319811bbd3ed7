"""The curves of runs as charts with all runs overlaid: measurements of the training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from captioner.report.chart import Drawing, Series, draw
from captioner.report.run_facts import History, points


class Curve(NamedTuple):
    """A line of a chart for each run: the kind of records, the keys of the value, its factor, and what it is called."""

    records: str
    path: tuple[str, ...]
    label: str = ""
    is_main: bool = True
    factor: float = 1.0

    def series(self, histories: Mapping[str, History]) -> list[Series]:
        """Return the line of each run; some may have no points."""
        lines = []
        for run, (name, history) in enumerate(histories.items()):
            values = [(step, self.factor * value) for step, value in points(getattr(history, self.records), *self.path)]
            label = ", ".join(filter(None, (name, self.label))) if len(histories) > 1 else self.label or name
            lines.append(Series(label, run, values, self.is_main, self.records == "validations"))
        return lines


def _score(name: str) -> Curve:
    return Curve("validations", ("scores", name), factor=100)


def _loss(validated: str, trained: str) -> tuple[Curve, ...]:
    return Curve("validations", (validated,), "validation"), Curve("steps", (trained,), "training", False)


CHARTS: tuple[tuple[str, str, bool, tuple[Curve, ...]], ...] = (
    ("Loss", "nats per word", False, _loss("loss", "word_loss")),
    ("Perplexity", "log scale", True, _loss("perplexity", "perplexity")),
    ("Reward", "mean of the sampled captions", False, (Curve("steps", ("reward",), is_main=False),)),
    ("CIDEr-D", "validation split", False, (_score("cider_d"),)),
    ("BLEU-4", "validation split", False, (_score("bleu4"),)),
    ("ROUGE-L", "validation split", False, (_score("rouge_l"),)),
    ("Learning rate", "after schedule and warm-up", False, (Curve("steps", ("learning_rate",)),)),
    ("Gradient norm", "global norm, log scale", True, (Curve("steps", ("grad_norm",), is_main=False),)),
)
"""The charts, in the order of the page: title, vertical axis, whether it is a log axis, and curves."""


def curves(histories: Mapping[str, History]) -> list[Drawing]:
    """Draw the curves of runs, by the names of the runs; a chart without points is omitted."""
    drawings = (
        draw(title, y, [line for curve in lines for line in curve.series(histories)], is_log)
        for title, y, is_log, lines in CHARTS
    )
    return [drawing for drawing in drawings if drawing is not None]
