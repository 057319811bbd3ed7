"""Several restored models as one ensemble."""

from __future__ import annotations

from collections.abc import Sequence

from captioner.errors import CheckpointError
from captioner.images.recipe import same_encoder
from captioner.inference.restore import LoadedModel, check_regions, check_width, vocabulary_difference
from captioner.model.ensemble import Ensemble


def ensemble_of(models: Sequence[LoadedModel]) -> LoadedModel:
    """Combine models into an ensemble, with the options of the first; a single model is returned as it is.

    Raises: CheckpointError when the vocabulary, encoder, feature width or regions of a model differ from the first's.
    """
    first, *others = models
    for other in others:
        if other.vocab != first.vocab:
            raise CheckpointError(
                f"{other.path}: vocabulary: expected the {len(first.vocab)} words of {first.path}, "
                f"got {vocabulary_difference(first.vocab, other.vocab)}; an ensemble needs one shared vocabulary"
            )
        if not same_encoder(other.meta.encoder, first.meta.encoder):
            raise CheckpointError(
                f"{other.path}: features: expected encoder {first.meta.encoder} as in {first.path}, "
                f"got {other.meta.encoder}; an ensemble needs one shared encoder"
            )
        check_width(first, other.meta.feature_dim, str(other.path))
        check_regions(other, first.meta.region_dim, first.meta.grid)
    if not others:
        return first
    ensemble = Ensemble([one.model for one in models])
    warnings = tuple(warning for one in models for warning in one.warnings)
    return LoadedModel(first.path, first.config, first.vocab, ensemble, first.meta, warnings=warnings)
