"""The best caption of each row of features, by one model or several."""

from collections.abc import Sequence

from captioner.data.corpus import Features
from captioner.inference.caption import Candidate
from captioner.inference.ensemble import ensemble_of
from captioner.inference.load import captioner_of
from captioner.inference.restore import LoadedModel


def best_captions(
    models: LoadedModel | Sequence[LoadedModel], features: Features, limit: int | None = None
) -> list[Candidate]:
    loaded = models if isinstance(models, LoadedModel) else ensemble_of(models)
    return [found[0] for found in captioner_of(loaded).candidates(features, limit=limit)]
