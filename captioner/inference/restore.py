"""From a checkpoint to the objects that were saved in it, checked against each other by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Protocol

import numpy as np

from captioner.arrays import Params
from captioner.config.options import Config
from captioner.config.yaml_io import parse
from captioner.data.corpus import Corpus
from captioner.errors import CaptionerError, CheckpointError, ConfigError
from captioner.images import are_same
from captioner.inference.build_model import assemble, build_sizes
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.interface import CaptionModel
from captioner.model.standardizer import Standardizer
from captioner.optim.ema import EMA
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Meta
from captioner.text.vocabulary import Vocab

FIXED = (
    "seed",
    "data.source",
    "data.standardize",
    "data.max_train",
    "model.cell",
    "model.wordvec_dim",
    "model.hidden_dim",
    "model.image_input",
    "model.dtype",
    "model.forget_bias",
    "model.output_bias",
    "train.batch_size",
    "train.objective",
    "train.init_from",
    "train.update_rule",
    "validate.split",
    "validate.max_captions",
    "validate.best_metric",
)
"""Options that a checkpoint has settled: they shaped its parameters and slots, or what a step or a loss means."""


@dataclass(frozen=True)
class Restored:
    """A model as it was saved, with its config, vocabulary and training state.

    The model captions with the running mean of the parameters where training kept one; `params` are those in training.
    """

    path: Path
    config: Config
    vocab: Vocab
    model: CaptioningRNN
    params: Params
    slots: dict[str, Params]
    meta: Meta


class Speaker(Protocol):
    """What writes captions: a model as it was restored, or several that speak together."""

    @property
    def path(self) -> Path: ...
    @property
    def config(self) -> Config: ...
    @property
    def vocab(self) -> Vocab: ...
    @property
    def model(self) -> CaptionModel: ...
    @property
    def meta(self) -> Meta: ...


def restore(path: Path, overrides: Sequence[str] = ()) -> Restored:
    """Open a checkpoint; overrides change its config, but for the options in `FIXED`.

    Raises: CheckpointError when the file is not whole, or its parts do not belong together; ConfigError for overrides.
    """
    saved = checkpoint.load(path)
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
        had = "none" if as_saved.train.ema_decay is None else "one"
        settled.append(f"-o train.ema_decay: the run in {path} has {had}; start a new run to change that")
    if settled:
        raise ConfigError(settled)
    if meta.best is not None and config.validate.best_metric not in meta.best:
        raise CheckpointError(
            f"{path}: meta: best: expected a figure {config.validate.best_metric}, got {', '.join(meta.best)}"
        )
    sizes = build_sizes(config, len(vocab), meta.feature_dim)
    _check_arrays(path, "params", saved.params, sizes.shapes(), config.model.dtype)
    for slot, arrays in saved.slots.items():
        _check_arrays(path, f"slots/{slot}", arrays, sizes.shapes(), config.model.dtype)
    standardizer = None
    if saved.standardizer:
        _check_arrays(
            path, "standardizer", saved.standardizer, dict.fromkeys(("mean", "std"), (meta.feature_dim,)), "float64"
        )
        if not (saved.standardizer["std"] > 0).all():
            least = saved.standardizer["std"].min()
            raise CheckpointError(f"{path}: array standardizer/std: expected numbers above 0, got {least:g}")
        standardizer = Standardizer(saved.standardizer["mean"], saved.standardizer["std"])
    model = assemble(config, sizes, saved.slots.get(EMA, saved.params), vocab.null, standardizer)
    return Restored(path, config, vocab, model, saved.params, saved.slots, meta)


def _check_arrays(path: Path, group: str, arrays: Params, shapes: dict[str, tuple[int, ...]], dtype: str) -> None:
    if extra := arrays.keys() - shapes.keys():
        raise CheckpointError(f"{path}: array {group}/{min(extra)}: unknown; expected {', '.join(shapes)}")
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype != np.dtype(dtype):
            got = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise CheckpointError(f"{path}: array {group}/{name}: expected {dtype} {shape}, got {got}")


SHAPING = (
    "model.cell",
    "model.wordvec_dim",
    "model.hidden_dim",
    "model.image_input",
    "data.standardize",
)
"""Options that say which parameters there are, and what they are given."""


def initialized_from(model: CaptioningRNN, config: Config, restored: Restored, corpus: Corpus) -> CaptioningRNN:
    """A fresh model with the parameters, and the standardizer, of another that has the same words and encoder.

    Raises: CheckpointError when it has others, or numbers too large for the type; ConfigError when its options in
    `SHAPING` are not the config's.
    """
    check_corpus(restored, corpus)
    values = ((option, attrgetter(option)(restored.config), attrgetter(option)(config)) for option in SHAPING)
    other = [
        f"{option}: expected {had} as in {restored.path}, which train.init_from names, got {given}; set it to that"
        for option, had, given in values
        if had != given
    ]
    if other:
        raise ConfigError(other)
    with np.errstate(over="ignore"):
        params = {name: w.astype(model.dtype) for name, w in restored.model.params.items()}
    if large := [name for name, w in params.items() if not np.isfinite(w).all()]:
        raise CheckpointError(
            f"{restored.path}: array params/{large[0]}: a number is too large for model.dtype {config.model.dtype}; "
            f"set it to {restored.config.model.dtype}"
        )
    return CaptioningRNN(model.sizes, params, model.null, model.dropout, restored.model.standardizer, model.smoothing)


def check_corpus(restored: Speaker, corpus: Corpus) -> None:
    """Raises: CheckpointError when a data set does not belong to the model: its words, encoder or feature width."""
    where, meta = restored.path, restored.meta
    if corpus.vocab != restored.vocab:
        raise CheckpointError(
            f"{where}: vocabulary: expected the {len(restored.vocab)} words of the checkpoint, "
            f"got {other_words(restored.vocab, corpus.vocab)}; use the data set that the model was trained on"
        )
    if not are_same(corpus.encoder, meta.encoder):
        raise CheckpointError(
            f"{where}: features: expected those of encoder {meta.encoder}, got {corpus.encoder}; "
            "encode the images as they were for training"
        )
    check_width(restored, corpus.feature_dim, "the data set")


def other_words(expected: Vocab, got: Vocab) -> str:
    """In a message, a vocabulary that is not the expected one."""
    pairs = zip(expected.words, got.words, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(expected), len(got)))
    return f"{len(got)} words that differ from id {at} on"


def check_width(restored: Speaker, width: int, where: str) -> None:
    """Raises: CheckpointError when features are wider or narrower than those the model was trained on."""
    if width != restored.meta.feature_dim:
        raise CheckpointError(
            f"{where}: features: expected {restored.meta.feature_dim} numbers an image, got {width}; "
            f"{restored.path} was trained on others"
        )
