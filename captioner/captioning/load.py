"""Load a Captioner from run folders or checkpoint files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioner.captioning.captioner import Captioner
from captioner.captioning.checks import (
    check_corpus,
    check_encoder,
    check_overrides,
    check_regions,
    check_width,
    encoded_as_trained,
    is_training_split,
    vocabulary_difference,
)
from captioner.captioning.find_checkpoint import BEST, DEFAULT_MODEL, LAST, find_checkpoint
from captioner.captioning.restore import LoadedModel, Restored, restore
from captioner.captioning.training_summary import SharesOfRows
from captioner.config.overrides import NONE, Values
from captioner.data.corpus import Corpus
from captioner.data.encoder_identity import same_encoder
from captioner.errors import CheckpointError, DataError, UsageError
from captioner.model.ensemble import Ensemble
from captioner.parallel.machine import set_blas_threads

Run = str | os.PathLike[str]
NOT_SHARED = Path("not-in-the-model-file")
"""What paths of the training machine are replaced with in the config of a model file from `captioner export`."""

DATA_OPTION = "--data FILE, or name photographs for captioner caption"


def run_list(runs: Captioner | Run | Sequence[Captioner | Run], where: str) -> list[Any]:
    """Return a run, or several, as a list. Raises: UsageError for an empty list."""
    named = [runs] if isinstance(runs, str | os.PathLike | Captioner) else list(runs)
    if not named:
        raise UsageError(f"{where}: expected at least one run, got an empty list")
    return named


def open_run(path: Run, overrides: Values = NONE) -> Restored:
    """Restore the model of a run folder (its best checkpoint) or of a model file.

    A run that ended before its first scheduled validation has no best checkpoint, so its last one is used; if the best
    one is missing, with a warning. Sets BLAS to one thread for the whole process.

    Raises: CheckpointError, or ConfigError for overrides.
    """
    if Path(path) == DEFAULT_MODEL and not DEFAULT_MODEL.exists():
        raise CheckpointError(f"{path}: the default model is missing; install captioner again, or name a run or model")
    checkpoint = find_checkpoint(Path(path))
    restored = restore(checkpoint, overrides, for_training=False)
    check_overrides(restored)
    set_blas_threads(1)
    if checkpoint.name != LAST or checkpoint == Path(path) or restored.meta.best is None:
        return restored
    return dataclasses.replace(restored, warnings=(f"{path}: no {BEST}; using {LAST} (step {restored.meta.step:,})",))


def open_runs(paths: Sequence[Run], overrides: Values = NONE) -> LoadedModel:
    """Restore one model, or several as an ensemble.

    Raises: as `open_run`; CheckpointError when the models do not fit together.
    """
    return ensemble_of([open_run(path, overrides) for path in paths])


def ensemble_of(models: Sequence[LoadedModel]) -> LoadedModel:
    """Combine models into an ensemble, with the options of the first; a single model is returned as it is.

    An ensemble has the training summary of the first model if all have one training split.

    Raises: CheckpointError when the vocabulary, encoder, feature width or regions of a model differ from the first's;
    as `check_overrides`.
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
        if other.meta.photo_side != first.meta.photo_side:
            raise CheckpointError(
                f"{other.path}: features: expected photographs of at most {first.meta.photo_side} pixels as in "
                f"{first.path}, got {other.meta.photo_side}; an ensemble needs one shared size"
            )
        check_width(first, other.meta.feature_dim, str(other.path))
        check_regions(other, first.meta.region_dim, first.meta.grid)
    if not others:
        return first
    ensemble = Ensemble([loaded.model for loaded in models])
    warnings = tuple(warning for loaded in models for warning in loaded.warnings)
    is_same_split = all(loaded.meta.train_digest == first.meta.train_digest != "" for loaded in models)
    parts = first.path, first.config, first.vocab, ensemble, first.meta
    checkpoint = ", ".join(loaded.checkpoint for loaded in models)
    summary = first.summary if is_same_split else None
    loaded = LoadedModel(*parts, warnings=warnings, checkpoint=checkpoint, summary=summary, changed=first.changed)
    check_overrides(loaded)
    return loaded


def open_corpus(loaded: LoadedModel, data: Path | None = None, option: str = DATA_OPTION) -> Corpus:
    """Load the data set that a model was trained on, or the data set `data`, whose vocabulary may differ.

    If `data` has the training split of the model, it has the vocabulary of the model too (`encoded_as_trained`).
    `option` is what the message for a model without a data set suggests.

    Raises: CheckpointError when the data set has changed, or has features of another encoder; DataError when it is
    missing; UsageError when `data` is no data set.
    """
    from captioner.preparation.load_corpus import build_corpus, build_corpus_at

    if data is not None:
        corpus = build_corpus_at(data, loaded.config)
        check_encoder(loaded, corpus)
        return encoded_as_trained(loaded, corpus)
    root = loaded.config.data.root
    if root is not None and root.name == NOT_SHARED.name:
        raise DataError(f"{loaded.path}: has no data set; set one with {option}")
    if root is not None and not root.exists():
        raise DataError(f"{root}: data set not found; if it has moved, try -o data.root=NEW")
    corpus = build_corpus(loaded.config, loaded.vocab)
    check_corpus(loaded, corpus)
    return corpus


def shares_of_split(loaded: LoadedModel, corpus: Corpus, name: str) -> SharesOfRows | None:
    """Return the expected shares of a model's own training images, each without its references; None for other images.

    With the others, the training images would be described by their own references.
    """
    if name != "train" or loaded.summary is None or not is_training_split(loaded, corpus):
        return None
    return loaded.summary.leave_one_out(corpus.split(name))
