"""Gradient norms through time of several runs, as a chart."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from captioner.data.corpus import Split
from captioner.errors import CaptionerError
from captioner.gradcheck.gradient_norms import gradient_norms
from captioner.inference.restore import LoadedModel
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.report.chart import Chart, Drawing, Series, draw

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
        word = _word(split, loaded.model.null)
        try:
            norms = gradient_norms(loaded.model, split, word).norms
        except CaptionerError:  # not finite: nothing to draw
            continue
        series.append(Series(name, run, [(float(back), norm) for back, norm in enumerate(norms)]))
    return draw(
        Chart(
            f"Gradient of the loss of word {word}",
            f"norm, log scale; word {WORD}, or the last that {ENOUGH} captions have",
            series,
            True,
            "steps back",
        )
    )


def _word(split: Split, null: int) -> int:
    """Return `WORD`, or the last word that `ENOUGH` captions have."""
    lengths = np.sort((split.captions[:, 1:] != null).sum(axis=1))
    return int(min(WORD, lengths[-min(ENOUGH, len(lengths))]))
