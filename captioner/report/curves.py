"""The curves of runs as charts with all runs overlaid: measurements of the training, gradient norms through time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from captioner.data.corpus import Split
from captioner.errors import CaptionerError
from captioner.gradcheck.gradient_norms import gradient_norms
from captioner.inference.restore import LoadedModel
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.report.chart import Chart, Drawing, Series, draw
from captioner.report.history import History, points


class Curve(NamedTuple):
    """A line of a chart: the kind of records, the keys of the value, its factor, and what it is called."""

    records: str
    path: tuple[str, ...]
    label: str = ""
    is_main: bool = True
    factor: float = 1.0


class Plot(NamedTuple):
    """A chart of every report: titles, and its curves."""

    title: str
    y: str
    curves: tuple[Curve, ...]
    is_log: bool = False


def _step(key: str, label: str = "", is_main: bool = True) -> Curve:
    return Curve("steps", (key,), label, is_main)


def _score(name: str) -> tuple[Curve, ...]:
    return (Curve("validations", ("scores", name), factor=100),)


def _loss(validated: str, trained: str) -> tuple[Curve, ...]:
    return Curve("validations", (validated,), "validation"), _step(trained, "training", False)


PLOTS: tuple[Plot, ...] = (
    Plot("Loss", "nats per word", _loss("loss", "word_loss")),
    Plot("Perplexity", "log scale", _loss("perplexity", "perplexity"), is_log=True),
    Plot("Reward", "CIDEr-D", (_step("greedy_reward", "greedy captions"), _step("reward", "sampled captions", False))),
    Plot("CIDEr-D", "validation split", _score("cider_d")),
    Plot("BLEU-4", "validation split", _score("bleu4")),
    Plot("ROUGE-L", "validation split", _score("rouge_l")),
    Plot("Learning rate", "after schedule and warm-up", (_step("learning_rate"),)),
    Plot("Gradient norm", "global norm, log scale", (_step("grad_norm", is_main=False),), is_log=True),
    Plot("Speed", "words per second", (Curve("speeds", ("words_per_second",)),)),
)
"""The charts, in the order of the page; a chart without points is omitted."""


def curves(histories: Mapping[str, History]) -> list[Drawing]:
    """Draw the curves of runs, by the names of the runs."""
    drawings = (draw(_chart(plot, histories)) for plot in PLOTS)
    return [drawing for drawing in drawings if drawing is not None]


def _chart(plot: Plot, histories: Mapping[str, History]) -> Chart:
    lines = []
    for curve in plot.curves:
        for run, (name, history) in enumerate(histories.items()):
            values = points(getattr(history, curve.records), *curve.path)
            if values:
                scaled = [(step, curve.factor * value) for step, value in values]
                names = (name, curve.label) if len(histories) > 1 else (curve.label or name,)
                label = ", ".join(filter(None, names))
                lines.append(Series(label, run, scaled, curve.is_main, curve.records == "validations"))
    return Chart(plot.title, plot.y, lines, plot.is_log)


WORD = 12
"""The word whose loss is differentiated, if captions are that long."""
ENOUGH = 20
"""Captions to average over: an earlier word is used if fewer are that long."""


def gradient_chart(models: Mapping[str, LoadedModel], split: Split) -> Drawing | None:
    """Draw the gradient norms of models by name; None if they cannot be computed."""
    series, word = [], 0
    for run, (name, loaded) in enumerate(models.items()):
        if not isinstance(loaded.model, CaptioningRNN):
            continue
        lengths = np.sort((split.captions[:, 1:] != loaded.model.null).sum(axis=1))
        word = int(min(WORD, lengths[-min(ENOUGH, len(lengths))]))
        try:
            norms = gradient_norms(loaded.model, split, word).norms
        except CaptionerError:  # not finite: nothing to draw
            continue
        series.append(Series(name, run, [(float(back), norm) for back, norm in enumerate(norms)]))
    y = f"norm, log scale; word {WORD}, or the last that {ENOUGH} captions have"
    return draw(Chart(f"Gradient of the loss of word {word}", y, series, True, "steps back"))
