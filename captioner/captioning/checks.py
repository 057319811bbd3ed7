"""Check that features, regions and data sets fit a model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioner.arrays import Array
from captioner.captioning.restore import LoadedModel
from captioner.config.option_table import OPTIONS
from captioner.config.options import GUIDED
from captioner.data.corpus import Corpus, Features, check_features, check_region_values, with_vocabulary
from captioner.data.encoder_identity import parse_identity, same_encoder
from captioner.data.vocabulary import Vocab
from captioner.errors import CheckpointError, ConfigError
from captioner.files.checkpoint import Meta
from captioner.model.ensemble import Ensemble

TRAIN = "train with -o model.attention=adaptive"


def check_corpus(loaded: LoadedModel, corpus: Corpus) -> None:
    """Check that a data set has the vocabulary, the encoder and the width of the model. Raises: CheckpointError."""
    if corpus.vocab != loaded.vocab:
        raise CheckpointError(
            f"{loaded.path}: vocabulary: expected the {len(loaded.vocab)} words of the checkpoint, "
            f"got {vocabulary_difference(loaded.vocab, corpus.vocab)}; use the data set that the model was trained on"
        )
    check_encoder(loaded, corpus)


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


def vocabulary_difference(expected: Vocab, got: Vocab) -> str:
    """Describe how a vocabulary differs from the expected one, for a message."""
    pairs = zip(expected.words, got.words, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(got)))
    return f"{len(got)} words, different from id {at} on"


def check_width(loaded: LoadedModel, width: int, where: str) -> None:
    """Check the feature width. Raises: CheckpointError when it differs from that of the training features."""
    if width != loaded.meta.feature_dim:
        raise CheckpointError(
            f"{where}: features: expected {loaded.meta.feature_dim} numbers per image, got {width}; "
            f"{loaded.path} was trained on features of another width"
        )


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


def missing_summary(loaded: LoadedModel) -> list[str]:
    """Return a warning if the options of a model need a training summary, which it does not have."""
    reason = without_summary(loaded)
    is_needed = reason and any(getattr(loaded.config.decode, name) for name in GUIDED)
    return [f"captions are ranked by log-probability alone: {reason}"] if is_needed else []


def photo_warnings(loaded: LoadedModel) -> list[str]:
    """Return a warning for photographs that are given to a model of generated scenes."""
    problem = (
        f"{loaded.path} was trained on generated scenes of coloured shapes, so its captions do not describe "
        "photographs; train on photographs with captions: captioner prepare --help"
    )
    return [problem] if loaded.config.data.source == "scenes" else []


def check_reads_data(loaded: LoadedModel, data: Path | None) -> None:
    """Check that options of the data set of a run were not overridden if another one, or a file of features, is read.

    Raises: ConfigError.
    """
    starts = ("data.root",) if data else ("data.root", "data.scenes.", "data.cs231n.")
    if ineffective := [path for path in loaded.changed if path.startswith(starts)]:
        raise ConfigError([f"{path}: has no effect: the data set of the run is not read" for path in ineffective])


def check_images(
    loaded: LoadedModel, features: Features, where: str, limit: int | None = None, regions: Features | None = None
) -> None:
    """Check the first `limit` rows of features, and of regions if the model attends to them.

    Raises: DataError for numbers that are not finite floats, CheckpointError for another shape.
    """
    check_features(features, f"{where}: features", limit)
    check_width(loaded, features.shape[1], where)
    if regions is not None:
        check_region_values(regions, features, f"{where}: regions", limit)
        check_regions(loaded, regions.shape[-1], regions.shape[1:-1])


def check_has_regions(loaded: LoadedModel, regions: Array | None) -> None:
    """Raises: CheckpointError for a model with attention without regions."""
    if regions is None and loaded.meta.region_dim:
        raise CheckpointError(
            f"{loaded.path}: model.attention {loaded.config.model.attention}: expected features with image regions, "
            "got features alone; add the regions, or use a model without attention"
        )


def check_finite(loaded: LoadedModel, probabilities: Array) -> None:
    """Raises: CheckpointError for probabilities or log-probabilities that are not finite."""
    if not np.isfinite(probabilities).all():
        raise CheckpointError(
            f"{loaded.path}: expected finite log-probabilities from the model, got NaN or infinity: its parameters are "
            "too large; use another checkpoint"
        )
