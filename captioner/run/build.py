"""From the config to the objects it names."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from captioner.arrays import Array, Params
from captioner.config import Config
from captioner.data import SOURCES
from captioner.data.ahead import ReadAhead, in_memory
from captioner.data.batches import ShuffledBatches, steps_per_epoch
from captioner.data.corpus import Corpus, Split
from captioner.data.features import standardization
from captioner.errors import ConfigError, UsageError
from captioner.layers import CELLS
from captioner.model import CaptioningRNN, Dropout, Standardizer
from captioner.optim import RULES, SCHEDULES, Hyper, Span
from captioner.parameters import Sizes, add_forget_bias, initial_params, log_frequency_bias
from captioner.run.scst import SelfCritical
from captioner.solver import Batches, Plan
from captioner.team import Team

MOST_PARAMETERS = 10**9

OUTPUT_BIASES: dict[str, Callable[[Split, int, int], Array]] = {
    "zeros": lambda train, vocab, null: np.zeros(vocab),
    "log_frequency": lambda train, vocab, null: log_frequency_bias(train.captions, vocab, null),
}
"""How b_vocab may start, from the train split, V and the id of `<NULL>`."""

LENGTHS: dict[str, Callable[[Array, int], Array | None]] = {
    "shuffled": lambda captions, null: None,
    "by_length": lambda captions, null: (captions != null).sum(axis=1),
}
"""By what batches are sorted, from the captions and the id of `<NULL>`."""


def build_corpus(config: Config) -> Corpus:
    """Load, or generate, the configured data set.

    Raises: DataError when it cannot be used.
    """
    source = config.data.source
    section = getattr(config.data, source, None)
    options = dataclasses.asdict(section) if section else {}
    corpus = SOURCES[source](config.data.root, memory_mib=config.data.memory_mib, **options)
    if config.data.max_train is None:
        return corpus
    train = corpus.split("train")
    few = np.random.default_rng((config.seed, 2)).permutation(len(train.captions))[: config.data.max_train]
    few.sort()
    texts = None if train.texts is None else [train.texts[row] for row in few.tolist()]
    cut = dataclasses.replace(train, captions=train.captions[few], image_idxs=train.image_idxs[few], texts=texts)
    return dataclasses.replace(corpus, splits={**corpus.splits, "train": cut})


def build_sizes(config: Config, vocab: int, feature: int) -> Sizes:
    """Raises: ConfigError when words cannot be tied."""
    model = config.model
    if model.tie_words and model.wordvec_dim != model.hidden_dim:
        raise ConfigError(
            [
                "model.tie_words: expected model.wordvec_dim = model.hidden_dim, got "
                f"{model.wordvec_dim} and {model.hidden_dim}; make them equal, or leave this option out"
            ]
        )
    return Sizes(vocab, feature, model.wordvec_dim, model.hidden_dim, model.cell, model.image, model.tie_words)


def build_dropout(config: Config) -> Dropout:
    return Dropout(config.model.dropout_features, config.model.dropout_words, config.model.dropout_hidden)


def build_model(config: Config, corpus: Corpus) -> CaptioningRNN:
    """A fresh model for a data set.

    Raises: UsageError when it would be too large, ConfigError when an option does not go with its cell.
    """
    sizes = build_sizes(config, len(corpus.vocab), corpus.feature_dim)
    count = sum(math.prod(shape) for shape in sizes.shapes().values())
    if count > MOST_PARAMETERS:
        raise UsageError(
            f"model: expected at most {MOST_PARAMETERS:,} parameters, got {count:,}; "
            "try a smaller model.hidden_dim or model.wordvec_dim"
        )
    dtype = np.dtype(config.model.dtype).type
    params = initial_params(sizes, np.random.default_rng((config.seed, 3)).standard_normal, dtype)
    if config.model.forget_bias and CELLS[sizes.cell].forget is None:
        raise ConfigError([f"model.forget_bias: the cell {sizes.cell} has no forget gate; remove this option"])
    add_forget_bias(params, sizes, config.model.forget_bias)
    train = corpus.split("train")
    params["b_vocab"] += OUTPUT_BIASES[config.model.output_bias](train, sizes.vocab, corpus.vocab.null).astype(dtype)
    standardizer = Standardizer(*standardization(train.features)) if config.data.standardize else None
    return assemble(config, sizes, params, corpus.vocab.null, standardizer)


def assemble(
    config: Config, sizes: Sizes, params: Params, null: int, standardizer: Standardizer | None
) -> CaptioningRNN:
    """The configured model with these parameters."""
    return CaptioningRNN(sizes, params, null, build_dropout(config), standardizer, config.train.label_smoothing)


def build_batches(
    config: Config, corpus: Corpus, model: CaptioningRNN, total_steps: int, team: Team
) -> AbstractContextManager[Batches]:
    """Where training gets its batches, to be closed after it."""
    train, options = corpus.split("train"), config.train
    lengths = LENGTHS[options.batches](train.captions, corpus.vocab.null)
    plain = ShuffledBatches(train, options.batch_size, config.seed, lengths)
    return OBJECTIVES[options.objective](plain, config, corpus, model, total_steps, team)


def _of_people(
    plain: ShuffledBatches, config: Config, corpus: Corpus, model: CaptioningRNN, total_steps: int, team: Team
) -> AbstractContextManager[Batches]:
    """Only what may have to be read from a disk is worth a thread."""
    return nullcontext(plain) if in_memory(plain.split.features) else ReadAhead(plain, total_steps)


def _self_critical(
    plain: ShuffledBatches, config: Config, corpus: Corpus, model: CaptioningRNN, total_steps: int, team: Team
) -> AbstractContextManager[Batches]:
    """Batches that come of the parameters as they are, so none can be made ahead."""
    return nullcontext(SelfCritical(model, plain, corpus.vocab, config.seed, config.decode.max_length, team))


OBJECTIVES: dict[str, Callable[..., AbstractContextManager[Batches]]] = {
    "likelihood": _of_people,
    "scst": _self_critical,
}
"""What training learns from: people's captions, or rewards of the model's own."""


def build_plan(config: Config, train: Split) -> Plan:
    """How long and how to train on a split."""
    options = config.train
    per_epoch = steps_per_epoch(len(train.captions), options.batch_size)
    total = min(options.epochs * per_epoch, options.max_steps or options.epochs * per_epoch)
    return Plan(
        rule=RULES[options.update_rule],
        hyper=Hyper(**{name: getattr(options, name) for name in Hyper._fields}),
        schedule=SCHEDULES[options.schedule],
        span=Span(total, per_epoch, options.lr_decay, options.warmup_steps),
        clip_norm=options.clip_norm,
        seed=config.seed,
        average=options.average,
    )
