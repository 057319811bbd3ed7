"""Build the model, batches and training plan from the config."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from captioner.arrays import Array
from captioner.config.checks import unused
from captioner.config.option_table import OPTIONS
from captioner.config.options import Config
from captioner.data.batches import PrefetchedBatches, ShuffledBatches, in_memory, steps_per_epoch
from captioner.data.corpus import Corpus, Split
from captioner.data.features import standardization
from captioner.errors import UsageError
from captioner.inference.restore import assemble_model, build_sizes
from captioner.model.captioning_model import CaptioningModel
from captioner.model.image_input import Standardizer
from captioner.model.parameters import add_forget_bias, initial_params, log_frequency_bias
from captioner.optim.schedules import SCHEDULES, Span
from captioner.optim.update_rules import UPDATE_RULES, Hyper
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.parallel.thread_pool import ThreadPool
from captioner.training.self_critical import SelfCritical
from captioner.training.solver import Batches, Plan

MAX_PARAMETERS = 10**9


OUTPUT_BIASES: dict[str, Callable[[Split, int, int], Array]] = {
    "zeros": lambda train, vocab, null: np.zeros(vocab),
    "log_frequency": lambda train, vocab, null: log_frequency_bias(train.captions, vocab, null),
}
"""Initial values of b_vocab, from the training split, V and the id of `<NULL>`."""


def build_model(config: Config, corpus: Corpus) -> CaptioningModel:
    """Build a model with initial parameters for a data set.

    Raises: UsageError when it has too many parameters.
    """
    sizes = build_sizes(config, len(corpus.vocab), corpus.feature_dim, corpus.region_dim)
    count = sum(math.prod(shape) for shape in sizes.shapes().values())
    if count > MAX_PARAMETERS:
        raise UsageError(
            f"model: expected at most {MAX_PARAMETERS:,} parameters, got {count:,}; try a smaller model.hidden_dim"
        )
    dtype = np.dtype(config.model.dtype).type
    params = initial_params(sizes, np.random.default_rng((config.seed, 3)).standard_normal, dtype)
    add_forget_bias(params, sizes, config.model.forget_bias)
    train = corpus.split("train")
    params["b_vocab"] += OUTPUT_BIASES[config.model.output_bias](train, sizes.vocab, corpus.vocab.null).astype(dtype)
    standardizers = [
        Standardizer(*standardization(part)) if config.data.standardize and part is not None else None
        for part in (train.features, train.regions)
    ]
    return assemble_model(config, sizes, params, corpus.vocab.null, (standardizers[0], standardizers[1]))


OBJECTIVES: Mapping[str, type[Batches]] = {
    "cross_entropy": ShuffledBatches,
    "self_critical": SelfCritical,
    "distillation": ShuffledBatches,
}
"""Training objectives: cross-entropy of the references or of teacher captions, or rewards of sampled captions."""


def build_batches(
    config: Config,
    corpus: Corpus,
    model: CaptioningModel,
    total_steps: int,
    pool: ThreadPool,
    ranks: Ranks = SINGLE_PROCESS,
) -> AbstractContextManager[Batches]:
    """Return the batches of the configured objective, as a context that frees their resources.

    They are prefetched in a thread if features or regions are read from disk, except for self-critical training, where
    a batch depends on the parameters at its step.
    """
    options, split = config.train, corpus.split("train")
    if OBJECTIVES[options.objective] is SelfCritical:
        max_length = config.decode.max_length
        return nullcontext(
            SelfCritical(model, corpus, options.batch_size, config.seed, max_length, options.consensus, pool, ranks)
        )
    shuffled = ShuffledBatches(
        split, options.batch_size, config.seed, options.captions_per_image, null=corpus.vocab.null, ranks=ranks
    )
    if in_memory(split.features) and in_memory(split.regions):
        return nullcontext(shuffled)
    return PrefetchedBatches(shuffled, total_steps)


def ignored_options(config: Config) -> list[str]:
    """Return a warning that names the options of other decoders, if the config has any."""
    names = [path for path, other, _ in unused(config, OPTIONS) if other == "model.decoder"]
    return [f"{', '.join(names)}: ignored, no effect with model.decoder {config.model.decoder}"] if names else []


def long_warmup(config: Config, span: Span) -> list[str]:
    """Return a warning if the learning rate rises for most of training, unless `train.max_steps` shortens it."""
    if config.train.max_steps is not None or 2 * span.warmup_steps <= span.total_steps:
        return []
    return [
        f"train.warmup_steps: {span.warmup_steps} of {span.total_steps} steps, so the learning rate is low for most of "
        f"training; try -o train.warmup_steps={max(1, span.total_steps // 10)}, or more train.epochs"
    ]


def build_plan(config: Config, train: Split) -> Plan:
    """Build the training plan for a split."""
    options = config.train
    per_epoch = steps_per_epoch(len(train.captions), options.batch_size)
    total = min(options.epochs * per_epoch, options.max_steps or options.epochs * per_epoch)
    return Plan(
        rule=UPDATE_RULES[options.update_rule],
        hyper=Hyper(**{name: getattr(options, name) for name in Hyper._fields}),
        schedule=SCHEDULES[options.schedule],
        span=Span(total, per_epoch, options.lr_decay, options.warmup_steps),
        clip_norm=options.clip_norm,
        seed=config.seed,
        ema_decay=options.ema_decay,
    )
