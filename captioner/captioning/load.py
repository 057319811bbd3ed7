"""Load a Captioner from run folders or checkpoint files."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from captioner.captioning.find_checkpoint import BEST, LAST, RERANKER, find_checkpoint
from captioner.captioning.restore import LoadedModel, Restored, restore
from captioner.config.overrides import NONE, Values, checked_values
from captioner.data.corpus import Corpus
from captioner.errors import CheckpointError, ConfigError, DataError, UsageError
from captioner.images.recipe import same_encoder
from captioner.model.ensemble import Ensemble
from captioner.parallel.blas import set_threads

if TYPE_CHECKING:
    from captioner.captioning.reranker_index import Index
    from captioner.config.options import Config

Run = str | os.PathLike[str]
NOT_SHARED = Path("not-in-the-model-file")
"""What paths of the training machine are replaced with in the config of a model file from `captioner export`."""

DATA_OPTION = "--data FILE, or caption photographs with captioner sample"


def load(runs: Run | Sequence[Run], overrides: Values = NONE) -> Captioner:
    """Load a Captioner from a run folder (its best checkpoint) or a model file. Several form an ensemble.

    `overrides` are values of options, such as `{"decode.beam_width": 5}`.

    Raises: CheckpointError for a damaged checkpoint or runs that do not fit together, ConfigError for overrides, also
    for those without effect, DataError for a damaged re-ranking index.
    """
    values = checked_values(overrides, "captioner.load")
    captioner = captioner_of(open_runs(run_list(runs, "load: runs"), values), overrides=values)
    for warning in captioner.warnings:
        warnings.warn(warning, stacklevel=2)
    return captioner


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
    checkpoint = find_checkpoint(Path(path))
    restored = restore(checkpoint, overrides, for_training=False)
    check_overrides(restored, overrides)
    set_threads(1)
    if checkpoint.name != LAST or checkpoint == Path(path) or restored.meta.best is None:
        return restored
    return dataclasses.replace(restored, warnings=(f"{path}: no {BEST}; using {LAST} (step {restored.meta.step:,})",))


def open_runs(paths: Sequence[Run], overrides: Values = NONE) -> LoadedModel:
    """Restore one model, or several as an ensemble.

    Raises: as `open_run`; CheckpointError when the models do not fit together.
    """
    loaded = ensemble_of([open_run(path, overrides) for path in paths])
    if len(paths) > 1:
        check_overrides(loaded, overrides)
    return loaded


def ensemble_of(models: Sequence[LoadedModel]) -> LoadedModel:
    """Combine models into an ensemble, with the options of the first; a single model is returned as it is.

    An ensemble of models with different training splits has no familiarity and no expected similarity.

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
    ensemble = Ensemble([loaded.model for loaded in models])
    warnings = tuple(warning for loaded in models for warning in loaded.warnings)
    is_same_split = all(loaded.meta.train_digest == first.meta.train_digest != "" for loaded in models)
    familiarity, regression = (first.familiarity, first.word_regression) if is_same_split else (None, None)
    parts = first.path, first.config, first.vocab, ensemble, first.meta
    checkpoint = ", ".join(loaded.checkpoint for loaded in models)
    return LoadedModel(
        *parts, warnings=warnings, checkpoint=checkpoint, familiarity=familiarity, word_regression=regression
    )


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
    check_root(loaded.config)
    corpus = build_corpus(loaded.config, loaded.vocab)
    check_corpus(loaded, corpus)
    return corpus


def check_root(config: Config) -> None:
    """Raises: DataError when the data set of a trained model is missing."""
    root = config.data.root
    if root is not None and not root.exists():
        raise DataError(f"{root}: data set not found; if it has moved, try -o data.root=NEW")


def captioner_of(loaded: LoadedModel, corpus: Corpus | None = None, overrides: Values = NONE) -> Captioner:
    """Make a Captioner of a loaded model, with the re-ranker that its options ask for.

    The re-ranking index is that of the run folder, or else is built from the training data set: `corpus`, if that is
    open already. If neither is found, captions are ranked without it, and the Captioner has a warning.

    Raises: DataError when the index or the data set is damaged, or belongs to another model; ConfigError for overrides.
    """
    options, root = loaded.config.decode, loaded.config.data.root
    if options.consensus == 0:
        return Captioner(loaded)
    file = loaded.path.parent / RERANKER
    try:
        index = _find_index(file, loaded, corpus)
    except (DataError, CheckpointError) as error:
        raise DataError(f"decode.consensus: {error}; or -o decode.consensus=0") from error
    if index is not None:
        return Captioner(loaded, index.reranker())
    data = "its data set" if root is None or root.name == NOT_SHARED.name else f"the data set {root}"
    missing, hint = f"neither {file} nor {data} was found", "try -o data.root=FILE, or"
    if ineffective := [path for path in ("decode.consensus", "decode.guidance") if overrides.get(path)]:
        raise ConfigError([f"{path}: has no effect: {missing}; {hint} leave it out" for path in ineffective])
    alone = f"so captions are ranked by log-probability / length^{options.length_penalty:g} alone"
    return Captioner(loaded, warnings=[f"decode.consensus: {missing}, {alone}; {hint} -o decode.consensus=0"])


def _find_index(file: Path, loaded: LoadedModel, corpus: Corpus | None) -> Index | None:
    from captioner.captioning import reranker_index

    if os.path.lexists(file):
        return reranker_index.check_index(file, reranker_index.read_index(file), loaded)
    root = loaded.config.data.root
    if corpus is None and root is not None and not root.exists():
        return None
    corpus = corpus or open_corpus(loaded)
    if not is_training_split(loaded, corpus):
        raise CheckpointError(
            f"{root or loaded.config.data.source}: training split: expected the captions that {loaded.path} was "
            "trained on, got others; use the training data set"
        )
    return reranker_index.build_index(corpus)
