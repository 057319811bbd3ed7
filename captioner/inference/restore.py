"""Restore a model from a checkpoint, and check that its parts fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from captioner.arrays import Params
from captioner.config.effects import SHAPING
from captioner.config.options import Config
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.errors import CaptionerError, CheckpointError, ConfigError
from captioner.images.recipe import same_encoder
from captioner.inference.build_model import assemble, build_sizes
from captioner.inference.checkpoint_arrays import check_arrays, standardizers_of, to_dtype
from captioner.inference.packaged_weights import load_checkpoint
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.interface import CaptionModel
from captioner.optim.update_rules import EMA
from captioner.storage.checkpoint import Meta
from captioner.text.vocabulary import Vocab

FIXED = (
    "seed",
    *SHAPING,
    "data.source",
    "data.max_captions_per_image",
    "data.max_train",
    "model.dtype",
    "model.forget_bias",
    "model.output_bias",
    "train.batch_size",
    "train.captions_per_image",
    "train.objective",
    "train.init_from",
    "train.update_rule",
    "distill.captions_per_image",
    "distill.references",
    "validate.split",
    "validate.max_captions",
    "validate.best_metric",
)
"""Options that cannot change after training has started: they determine parameters, slots, steps or losses."""


@dataclass(frozen=True)
class LoadedModel:
    """A model or an ensemble, ready to caption, with its config, vocabulary and checkpoint metadata.

    `path` is the checkpoint file; of an ensemble, that of the first model. `warnings` are what a user should know
    about the choice of the checkpoint.
    """

    path: Path
    config: Config
    vocab: Vocab
    model: CaptionModel
    meta: Meta
    warnings: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Restored(LoadedModel):
    """One model with its training state.

    `model` has the moving average (EMA) of the parameters if training kept one; `params` are the trained parameters.
    `slots` are complete if the model was restored for training.
    """

    model: CaptioningRNN
    params: Params
    slots: dict[str, Params]


def restore(path: Path, overrides: Sequence[str] = (), for_training: bool = True) -> Restored:
    """Restore a model from a checkpoint or a model package; `overrides` change its config, except options in `FIXED`.

    Unless `for_training`, the optimizer's slots are not read, except the EMA: with Adam, they are two thirds of the
    file.

    Raises: CheckpointError for a file that is damaged or whose parts do not fit together; ConfigError for overrides.
    """
    saved = load_checkpoint(path, None if for_training else (EMA,))
    meta = saved.meta
    where = f"the config in {path}"
    try:
        as_saved, vocab = parse(meta.config, where), Vocab(meta.words)
    except CaptionerError as error:
        raise CheckpointError(f"{path}: meta: {'; '.join(str(error).splitlines())}") from error
    config = parse(meta.config, where, overrides) if overrides else as_saved
    values = ((option, attrgetter(option)(as_saved), attrgetter(option)(config)) for option in FIXED)
    settled = [
        f"-o {option}: expected {saved} as in {path}, got {given}; start a new run to change it"
        for option, saved, given in values
        if saved != given
    ]
    if (as_saved.train.ema_decay is None) != (config.train.ema_decay is None):
        had = "no EMA" if as_saved.train.ema_decay is None else "an EMA"
        settled.append(f"-o train.ema_decay: the run in {path} has {had}; start a new run to change it")
    if settled:
        raise ConfigError(settled)
    if meta.best is not None and config.validate.best_metric not in meta.best:
        raise CheckpointError(
            f"{path}: meta: best: expected the metric {config.validate.best_metric}, got {', '.join(meta.best)}"
        )
    sizes = build_sizes(config, len(vocab), meta.feature_dim, meta.region_dim)
    if sizes.attends != (meta.region_dim > 0):
        expected = "at least 1" if sizes.attends else "0"
        raise CheckpointError(
            f"{path}: meta: region_dim: expected {expected} for model.attention {sizes.attention}, "
            f"got {meta.region_dim}"
        )
    params = to_dtype(saved.params, config.model.dtype)
    check_arrays(path, "params", params, sizes.shapes(), config.model.dtype)
    for slot, arrays in saved.slots.items():
        check_arrays(path, f"slots/{slot}", arrays, sizes.shapes(), config.model.dtype)
    standardizers = standardizers_of(path, saved.standardizer, sizes)
    model = assemble(config, sizes, saved.slots.get(EMA, params), vocab.null, standardizers)
    return Restored(path, config, vocab, model, meta, params, saved.slots)


def check_corpus(loaded: LoadedModel, corpus: Corpus) -> None:
    """Check that a data set has the vocabulary, encoder and feature width of the model.

    Raises: CheckpointError when it has not.
    """
    if corpus.vocab != loaded.vocab:
        raise CheckpointError(
            f"{loaded.path}: vocabulary: expected the {len(loaded.vocab)} words of the checkpoint, "
            f"got {vocabulary_difference(loaded.vocab, corpus.vocab)}; use the data set that the model was trained on"
        )
    check_encoder(loaded, corpus)


def check_encoder(loaded: LoadedModel, corpus: Corpus) -> None:
    """Check that the features of a data set have the encoder and the width of the model's.

    Raises: CheckpointError when they have not.
    """
    if not same_encoder(corpus.encoder, loaded.meta.encoder):
        raise CheckpointError(
            f"{loaded.path}: features: expected encoder {loaded.meta.encoder}, got {corpus.encoder}; "
            "use the encoder of the training images"
        )
    check_width(loaded, corpus.feature_dim, "the data set")
    check_regions(loaded, corpus.region_dim, corpus.grid)


def check_regions(
    loaded: LoadedModel, width: int, grid: Sequence[int], hint: str = "name a model with attention first"
) -> None:
    """Check the numbers per region and the grid of a data set, an encoder, or the model that opened the data set.

    The width is 0 and the grid empty without regions, for which `hint` is what to try; the grid is also empty in
    checkpoints that do not have it.

    Raises: CheckpointError when the model attends to other regions.
    """
    meta = loaded.meta
    if meta.region_dim not in (0, width):
        hint = "use the encoder of the training images" if width else hint
        raise CheckpointError(
            f"{loaded.path}: regions: expected {meta.region_dim} numbers per region, got {width}; {hint}"
        )
    if meta.grid and grid and meta.grid != list(grid):
        expected, got = (" x ".join(map(str, one)) for one in (meta.grid, grid))
        raise CheckpointError(
            f"{loaded.path}: regions: expected a grid of {expected}, got {got}; use the encoder of the training images"
        )


def is_training_split(loaded: LoadedModel, corpus: Corpus) -> bool:
    """Whether a data set has the training split of the model, with the same vocabulary."""
    return "train" in corpus.splits and corpus.fingerprint(["train"]) == loaded.meta.train_fingerprint


def vocabulary_difference(expected: Vocab, got: Vocab) -> str:
    """Describe how a vocabulary differs from the expected one, for a message."""
    pairs = zip(expected.words, got.words, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(got)))
    return f"{len(got)} words, different from id {at} on"


def check_width(loaded: LoadedModel, width: int, where: str) -> None:
    """Check the feature width.

    Raises: CheckpointError when it differs from that of the training features.
    """
    if width != loaded.meta.feature_dim:
        raise CheckpointError(
            f"{where}: features: expected {loaded.meta.feature_dim} numbers per image, got {width}; "
            f"{loaded.path} was trained on features of another width"
        )
