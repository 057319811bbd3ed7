"""Build the model, batches and training plan from the config."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.captioning.training_summary import TrainingSummary
from captioner.config.checks import learns_other_captions, samples_captions
from captioner.config.options import Config, Train
from captioner.data.batches import Batches, PrefetchedBatches, ShuffledBatches, in_memory, steps_per_epoch
from captioner.data.corpus import Corpus, Split
from captioner.data.features import standardization
from captioner.errors import UsageError
from captioner.model.build import (
    add_forget_bias,
    assemble_model,
    build_sizes,
    initial_params,
    log_frequency_bias,
    parameter_count,
)
from captioner.model.captioning_model import CaptioningModel
from captioner.model.image_input import Standardizer
from captioner.optim import SCHEDULES, UPDATE_RULES, Hyper, Span
from captioner.parallel.ranks import Ranks
from captioner.parallel.thread_pool import ThreadPool
from captioner.training.self_critical import SelfCritical
from captioner.training.solver import Plan

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
    options = vars(config.model)
    sizes = build_sizes(options, len(corpus.vocab), corpus.feature_dim, corpus.region_dim)
    count = parameter_count(sizes)
    if count > MAX_PARAMETERS:
        raise UsageError(
            f"model: expected at most {MAX_PARAMETERS:,} parameters, got {count:,}; try a smaller model.hidden_dim"
        )
    dtype = np.dtype(config.model.dtype).type
    params = initial_params(sizes, np.random.default_rng((config.seed, 3)).standard_normal, dtype)
    add_forget_bias(params, sizes, config.model.forget_bias)
    train = corpus.split("train")
    params["b_vocab"] += OUTPUT_BIASES[config.model.output_bias](train, sizes.vocab, corpus.vocab.null).astype(dtype)
    features, regions = (
        Standardizer(*standardization(part)) if config.data.standardize and part is not None else None
        for part in (train.features, train.regions)
    )
    return assemble_model(options, sizes, params, corpus.vocab.null, (features, regions), config.train.label_smoothing)


Parts: TypeAlias = tuple[Config, Corpus, CaptioningModel, TrainingSummary | None, ThreadPool, Ranks]
"""What the batches of an objective may depend on."""


def _shuffled(*parts: *Parts) -> Batches:
    config, corpus, *_, ranks = parts
    sizes = config.train.batch_size, config.seed, config.train.captions_per_image
    return ShuffledBatches(corpus.split("train"), *sizes, null=corpus.vocab.null, ranks=ranks)


class Objective(NamedTuple):
    """A training objective: its batches, and the steps of an epoch.

    Its training split has at least `min_images`.
    """

    batches: Callable[[*Parts], Batches]
    steps_per_epoch: Callable[[Train, Split], int]
    min_images: int = 1


OBJECTIVES: Mapping[str, Objective] = {
    "cross_entropy": Objective(
        _shuffled, lambda options, train: steps_per_epoch(len(train.captions), options.batch_size)
    ),
    "self_critical": Objective(
        SelfCritical,
        lambda options, train: steps_per_epoch(len(train.captioned_images), options.batch_size // options.samples),
        min_images=2,  # CIDEr-D with one image has no inverse document frequencies
    ),
}
"""Training objectives: cross-entropy of the references or of learned captions, or rewards of sampled captions."""


def build_batches(total_steps: int, *parts: *Parts) -> AbstractContextManager[Batches]:
    """Return the batches of the configured objective, as a context that frees their resources.

    They are prefetched in a thread if features or regions are read from disk.
    """
    config, corpus, *_ = parts
    split, batches = corpus.split("train"), OBJECTIVES[config.train.objective].batches(*parts)
    if samples_captions(config) or (in_memory(split.features) and in_memory(split.regions)):
        return nullcontext(batches)
    return PrefetchedBatches(batches, total_steps)


def ignored_options(config: Config) -> Iterator[str]:
    """Yield a warning for each option without effect, and one about the loss."""
    yield from config.ignored.values()
    if config.validate.best_metric == "loss" and learns_other_captions(config):
        yield (
            "validate.best_metric: loss selects best.h5 by the loss of the references, which training does not "
            "minimize; captions may score lower than those of last.h5; try -o validate.best_metric=cider_d"
        )


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
    per_epoch = max(OBJECTIVES[options.objective].steps_per_epoch(options, train), options.min_epoch_steps)
    total = min(options.epochs * per_epoch, options.max_steps or options.epochs * per_epoch)
    warmup = options.warmup_steps
    return Plan(
        rule=UPDATE_RULES[options.update_rule],
        hyper=Hyper(options.learning_rate, weight_decay=options.weight_decay),
        schedule=SCHEDULES[options.schedule],
        span=Span(total, per_epoch, options.lr_decay, round(warmup if warmup >= 1 else warmup * total)),
        clip_norm=options.clip_norm,
        seed=config.seed,
        ema_decay=options.ema_decay,
        ema_warmup=options.init_from is None,
    )
