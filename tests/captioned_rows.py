"""Captions of rows of features, by one model or several."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from captioner.arrays import Batch
from captioner.captioning.caption import Candidate
from captioner.captioning.captioner import Captioner
from captioner.captioning.load import ensemble_of
from captioner.captioning.saved_model import LoadedModel
from captioner.data.corpus import Features, Split


def candidates(captioner: Captioner, features: Features, n_best: int = 1, **options: Any) -> list[list[Candidate]]:
    """The n best captions of each row."""
    several = captioner.with_options({"caption.n_best": n_best})
    return [caption.candidates for caption in several.decode(features, **options)]


def best_captions(
    models: LoadedModel | Sequence[LoadedModel], features: Features, limit: int | None = None
) -> list[Candidate]:
    """The best caption of each row."""
    loaded = models if isinstance(models, LoadedModel) else ensemble_of(models)
    rows = np.arange(features.shape[0])[:limit]
    return [best for best, *_ in candidates(Captioner(loaded), features, rows=rows)]


def loss(loaded: LoadedModel, split: Split, row: int, caption: str) -> float:
    """The teacher-forced loss of a caption, which has no end if it has the maximum length."""
    ids = loaded.vocab.encode([caption.split()])
    reference = ids[:, : None if len(caption.split()) < loaded.config.decode.max_length else -1]
    return float(loaded.model.word_losses(Batch(split.features[row : row + 1], reference)).sum(dtype=float))
