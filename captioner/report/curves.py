"""The curves of runs as charts with all runs overlaid: measurements of the training, gradient norms through time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from captioner.data.corpus import Split
from captioner.errors import CaptionerError
from captioner.gradcheck.gradient_norms import gradient_norms
from captioner.inference.restore import LoadedModel
from captioner.model.captioning_model import CaptioningModel
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


WORD = 12
"""The word whose loss is differentiated, if captions are that long."""
ENOUGH = 20
"""Captions to average over: an earlier word is used if fewer are that long."""


def gradient_chart(models: Mapping[str, LoadedModel], split: Split) -> Drawing | None:
    """Draw the gradient norms of models by name; None if they cannot be computed.

    They are those of hidden states, or those of words for all models if one of them has no hidden states.
    """
    reaches, word = {}, 0
    for run, (name, loaded) in enumerate(models.items()):
        if not isinstance(loaded.model, CaptioningModel):
            continue
        lengths = np.sort((split.captions[:, 1:] != loaded.model.null).sum(axis=1))
        word = int(min(WORD, lengths[-min(ENOUGH, len(lengths))]))
        try:
            reaches[run, name] = gradient_norms(loaded.model, split, word)
        except CaptionerError:  # not finite: nothing to draw
            continue
    norms = [reach.norms for reach in reaches.values()]
    quantity = "hidden states"
    if None in norms:
        quantity, norms = "words", [reach.inputs for reach in reaches.values()]
    series = [
        Series(name, run, [(float(back), norm) for back, norm in enumerate(line or ())])
        for (run, name), line in zip(reaches, norms, strict=True)
    ]
    y = f"norm, log scale; word {WORD}, or the last that {ENOUGH} captions have"
    return draw(f"Gradient of the loss of word {word} with respect to {quantity}", y, series, True, "steps back")
