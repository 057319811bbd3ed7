"""Open models and their data sets: run folders, model files, ensembles; and check that they fit together."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from captioner.captioning.find_checkpoint import BEST, DEFAULT_MODEL, LAST, find_checkpoint
from captioner.captioning.saved_model import LoadedModel, SavedModel, open_checkpoint
from captioner.captioning.training_summary import SharesOfRows
from captioner.config.option_table import OPTIONS
from captioner.config.options import GUIDED
from captioner.config.overrides import NONE, Values
from captioner.data.corpus import Corpus, with_vocabulary
from captioner.data.encoder_identity import parse_identity, same_encoder
from captioner.data.vocabulary import Vocab
from captioner.errors import CheckpointError, ConfigError, DataError
from captioner.files.checkpoint import Meta
from captioner.model.ensemble import Ensemble
from captioner.parallel.machine import set_blas_threads

ModelPath = str | os.PathLike[str]
"""A run folder or a model file."""
NOT_SHARED = Path("not-in-the-model-file")
"""What paths of the training machine are replaced with in the config of a model file from `captioner export`."""
DATA_OPTION = "--data FILE, or name photographs for captioner caption"
TRAIN = "train with -o model.attention=adaptive"


def open_run(path: ModelPath, overrides: Values = NONE) -> SavedModel:
    """Open the model of a run folder (its best checkpoint) or of a model file.

    A run that ended before its first scheduled validation has no best checkpoint, so its last one is used; if the best
    one is missing, with a warning. Sets BLAS to one thread for the whole process.

    Raises: CheckpointError, or ConfigError for overrides.
    """
    if Path(path) == DEFAULT_MODEL and not DEFAULT_MODEL.exists():
        raise CheckpointError(f"{path}: the default model is missing; install captioner again, or name a run or model")
    checkpoint = find_checkpoint(Path(path))
    opened = open_checkpoint(checkpoint, overrides, for_training=False)
    check_overrides(opened)
    set_blas_threads(1)
    if checkpoint.name != LAST or checkpoint == Path(path) or opened.meta.best is None:
        return opened
    return dataclasses.replace(opened, warnings=(f"{path}: no {BEST}; using {LAST} (step {opened.meta.step:,})",))


def open_runs(paths: Sequence[ModelPath], overrides: Values = NONE) -> LoadedModel:
    """Open one model, or several as an ensemble.

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


def check_corpus(loaded: LoadedModel, corpus: Corpus) -> None:
    """Check that a data set has the vocabulary, the encoder and the width of the model. Raises: CheckpointError."""
    if corpus.vocab != loaded.vocab:
        raise CheckpointError(
            f"{loaded.path}: vocabulary: expected the {len(loaded.vocab)} words of the checkpoint, "
            f"got {vocabulary_difference(loaded.vocab, corpus.vocab)}; use the data set that the model was trained on"
        )
    check_encoder(loaded, corpus)


def vocabulary_difference(expected: Vocab, got: Vocab) -> str:
    """Describe how a vocabulary differs from the expected one, for a message."""
    pairs = zip(expected.words, got.words, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(got)))
    return f"{len(got)} words, different from id {at} on"


def check_encoder(loaded: LoadedModel, corpus: Corpus) -> None:
    """Check that the features of a data set have the encoder and the width of the model's. Raises: CheckpointError."""
    if not same_encoder(corpus.encoder, loaded.meta.encoder):
        raise CheckpointError(
            f"{loaded.path}: features: expected encoder {loaded.meta.encoder}, got {corpus.encoder}; "
            f"{_prepare_again(loaded.meta)}"
        )
    check_width(loaded, corpus.feature_dim, "the data set")
    check_regions(loaded, corpus.region_dim, corpus.grid)


def _prepare_again(meta: Meta) -> str:
    """Return the hint for features of another encoder than that of the training images."""
    recipe = parse_identity(meta.encoder)
    if recipe is None:
        return "use features of the encoder of the training images"
    regions = " --regions" if meta.region_dim else ""
    encoder = shlex.quote(str(recipe))
    return f"prepare the data set with captioner prepare --encoder {encoder}{regions}, and set it with --data"


def check_width(loaded: LoadedModel, width: int, where: str) -> None:
    """Check the feature width. Raises: CheckpointError when it differs from that of the training features."""
    if width != loaded.meta.feature_dim:
        raise CheckpointError(
            f"{where}: features: expected {loaded.meta.feature_dim} numbers per image, got {width}; "
            f"{loaded.path} was trained on features of another width"
        )


def check_regions(
    loaded: LoadedModel, width: int, grid: Sequence[int], hint: str = "list a model with attention first"
) -> None:
    """Check the region dimension and the grid of a data set, an encoder, or the model that opened the data set.

    `width` is 0 and `grid` is empty if there are no regions; the error then ends with `hint`.

    Raises: CheckpointError when the model attends to other regions.
    """
    meta = loaded.meta
    if meta.region_dim not in (0, width):
        hint = "use the encoder of the training images" if width else hint
        raise CheckpointError(
            f"{loaded.path}: regions: expected region dimension {meta.region_dim}, got {width}; {hint}"
        )
    if meta.grid and grid and meta.grid != list(grid):
        expected, got = (" x ".join(map(str, sides)) for sides in (meta.grid, grid))
        raise CheckpointError(
            f"{loaded.path}: regions: expected a grid of {expected}, got {got}; use the encoder of the training images"
        )


def is_training_split(loaded: LoadedModel, corpus: Corpus) -> bool:
    """Whether a data set has the training split of the model, with the same vocabulary."""
    return bool(corpus.train_digest) and corpus.train_digest == loaded.meta.train_digest


def encoded_as_trained(loaded: LoadedModel, corpus: Corpus) -> Corpus:
    """Encode a data set with the vocabulary of the model, if it then has the training split of the model.

    The vocabulary of a fine-tuned model is larger than that of its data set. Other data sets are returned unchanged:
    `<UNK>` replaces other words in them.
    """
    encoded = with_vocabulary(corpus, loaded.vocab)
    return encoded if encoded is not corpus and is_training_split(loaded, encoded) else corpus


def check_reads_data(loaded: LoadedModel, data: Path | None) -> None:
    """Check that options of the data set of a run were not overridden if another one, or a file of features, is read.

    Raises: ConfigError.
    """
    starts = ("data.root",) if data else ("data.root", "data.scenes.", "data.cs231n.")
    if ineffective := [path for path in loaded.changed if path.startswith(starts)]:
        raise ConfigError([f"{path}: has no effect: the data set of the run is not read" for path in ineffective])


def check_attention(loaded: LoadedModel) -> None:
    """Check that a model, or each model of an ensemble, has attention. Raises: CheckpointError."""
    model = loaded.model
    if model.attends:
        return
    if isinstance(model, Ensemble):
        without = ", ".join(str(number) for number, member in enumerate(model.members, 1) if not member.attends)
        raise CheckpointError(
            f"attention maps: expected models with attention, got none in model {without} of {len(model.members)}; "
            f"leave out models without attention, or {TRAIN}"
        )
    raise CheckpointError(
        f"{loaded.path}: attention maps: expected a model with attention, got model.attention "
        f"{loaded.config.model.attention}; {TRAIN}"
    )


def check_overrides(loaded: LoadedModel) -> None:
    """Check that a model can follow the options of captions that were overridden.

    Raises: CheckpointError for attention that it lacks, ConfigError without a training summary or familiarity.
    """
    if loaded.changed.get("caption.attention"):
        check_attention(loaded)
    check_summary(loaded)


def check_summary(loaded: LoadedModel) -> None:
    """Raises: ConfigError for options that were overridden, but need a training summary that a model does not have."""
    for path in OF_SUMMARY:
        default, reason = OPTIONS[path].default, without_summary(loaded)
        if not reason and path == "decode.unfamiliar_below" and loaded.summary and loaded.summary.familiarity is None:
            reason = f"{loaded.path} has no familiarity, which needs at least 2 training images and 256 features"
        if reason and loaded.changed.get(path, default) != default:
            raise ConfigError([f"{path}: has no effect: {reason}"])


OF_DECODE = "unfamiliar_below", "uncertain_below", *GUIDED
OF_SUMMARY = (*(f"decode.{name}" for name in OF_DECODE), "caption.keywords_above")
"""Options that need a training summary."""


def without_summary(loaded: LoadedModel) -> str:
    """Return why a model has no training summary, with what to try; "" if it has one."""
    if loaded.summary is not None:
        return ""
    if isinstance(loaded.model, Ensemble):
        return "the models have different training splits"
    return f"{loaded.path} has no training summary; captioner export {loaded.path} --data FILE --output NEW.h5 adds it"
