"""Captions of rows of features, by one model or several."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from captioner.data.corpus import Features
from captioner.inference.caption import Candidate
from captioner.inference.captioner import Captioner
from captioner.inference.load import captioner_of, ensemble_of
from captioner.inference.restore import LoadedModel


def candidates(captioner: Captioner, features: Features, n_best: int = 1, **options: Any) -> list[list[Candidate]]:
    """The n best captions of each row."""
    return [one.candidates for one in captioner.decode(features, n_best, **options)]


def best_captions(
    models: LoadedModel | Sequence[LoadedModel], features: Features, limit: int | None = None
) -> list[Candidate]:
    """The best caption of each row."""
    loaded = models if isinstance(models, LoadedModel) else ensemble_of(models)
    return [found[0] for found in candidates(captioner_of(loaded), features, rows=np.arange(features.shape[0])[:limit])]
