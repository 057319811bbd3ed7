"""Build the model, batches and training plan from the config, and the parameters of a checkpoint (train.init_from)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params, cast, evenly_spaced
from captioner.captioning.checks import check_encoder
from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.captioning.load import open_run
from captioner.captioning.restore import Restored
from captioner.captioning.training_summary import TrainingSummary
from captioner.config.checks import SHAPING, has_effect, learns_other_captions
from captioner.config.option_table import replaced
from captioner.config.options import Config, Train
from captioner.config.overrides import differences, override
from captioner.data.batches import Batches, PrefetchedBatches, ShuffledBatches, in_memory, steps_per_epoch
from captioner.data.corpus import Corpus, Split
from captioner.data.features import standardization
from captioner.data.vocabulary import SPECIAL
from captioner.errors import CheckpointError, ConfigError, UsageError
from captioner.model.build import (
    add_forget_bias,
    assemble_model,
    build_sizes,
    initial_params,
    log_frequency_bias,
    parameter_count,
)
from captioner.model.captioning_model import CaptioningModel, State, StepFunction, take_rows
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


Parts: TypeAlias = tuple[CaptioningModel, TrainingSummary | None, ThreadPool, Ranks]
"""What the batches of an objective may depend on, besides the config and the data set."""


def _shuffled(config: Config, corpus: Corpus, parts: Parts) -> Batches:
    options, (*_, ranks) = config.train, parts
    sizes = options.batch_size, config.seed, options.captions_per_image
    return ShuffledBatches(corpus.split("train"), *sizes, null=corpus.vocab.null, ranks=ranks)


def _self_critical(config: Config, corpus: Corpus, parts: Parts) -> Batches:
    options, (model, summary, pool, ranks) = config.train, parts
    sampling = options.batch_size, options.samples, config.seed, config.decode.max_length
    return SelfCritical(model, corpus, *sampling, options.similarity_weight, summary, pool, ranks)


class Objective(NamedTuple):
    """A training objective: its batches, and the steps of an epoch.

    The captions of its batches are the references or learned captions, unless it `samples` them from the model: then a
    batch depends on the parameters at its step, and is not prefetched. Its training split has at least `min_images`.
    """

    batches: Callable[[Config, Corpus, Parts], Batches]
    steps_per_epoch: Callable[[Train, Split], int]
    samples: bool = False
    min_images: int = 1


OBJECTIVES: Mapping[str, Objective] = {
    "cross_entropy": Objective(
        _shuffled, lambda options, train: steps_per_epoch(len(train.captions), options.batch_size)
    ),
    "self_critical": Objective(
        _self_critical,
        lambda options, train: steps_per_epoch(len(train.captioned_images), options.batch_size // options.samples),
        samples=True,
        min_images=2,  # CIDEr-D with one image has no inverse document frequencies
    ),
}
"""Training objectives: cross-entropy of the references or of learned captions, or rewards of sampled captions."""


def build_batches(config: Config, corpus: Corpus, total_steps: int, parts: Parts) -> AbstractContextManager[Batches]:
    """Return the batches of the configured objective, as a context that frees their resources.

    They are prefetched in a thread if features or regions are read from disk.
    """
    objective, split = OBJECTIVES[config.train.objective], corpus.split("train")
    batches = objective.batches(config, corpus, parts)
    if objective.samples or (in_memory(split.features) and in_memory(split.regions)):
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
        hyper=Hyper(**{name: getattr(options, name) for name in Hyper._fields}),
        schedule=SCHEDULES[options.schedule],
        span=Span(total, per_epoch, options.lr_decay, round(warmup if warmup >= 1 else warmup * total)),
        clip_norm=options.clip_norm,
        seed=config.seed,
        ema_decay=options.ema_decay,
    )


def base_of(config: Config) -> Restored | None:
    """Restore the model of `train.init_from`, if there is one.

    Raises: as `open_run`; ConfigError for a bare name that is not the default model's.
    """
    start, default = config.train.init_from, DEFAULT_MODEL.stem
    if isinstance(start, str) and start != default:
        raise ConfigError([f"train.init_from: expected {default} or a path, such as ./{start}, got {start}"])
    return None if start is None else open_run(DEFAULT_MODEL if start == default else start)


def shaped_like(config: Config, base: Config) -> Config:
    """Return a config whose options in `SHAPING` are those of a base model, if they are not given.

    A Config made in Python does not know what was given: there, values that differ from the defaults.
    """
    given = config.given.union(differences(config, Config()))
    values = {option: attrgetter(option)(base) for option in SHAPING if option not in given}
    return override(replaced(config, {o: value for o, value in values.items() if has_effect(base, o)}))


WORD_AXES = {"W_embed": 0, "W_vocab": 1, "b_vocab": 0}
"""The axis of the words in each parameter that has one."""


def initialize_from(
    model: CaptioningModel, config: Config, restored: Restored, corpus: Corpus
) -> tuple[CaptioningModel, dict[str, Any], Array]:
    """Initialize a model with the parameters and the standardizer of a restored one.

    Of the parameters in `WORD_AXES`, the parts of shared words are copied, and other words get those of `new_words`.
    Return also what to record: the checkpoint, and the numbers of shared words, of all words, and of trained words that
    are dropped, without special tokens; and which new words name things, because the trained words in their places do.

    Raises: CheckpointError when a parameter is too large for the dtype; ConfigError when the encoder or an option in
    `SHAPING` that has an effect on the trained model differs.
    """
    values = ((option, attrgetter(option)(restored.config), attrgetter(option)(config)) for option in SHAPING)
    other = [
        f"{option}: expected {expected} as in {restored.path} (train.init_from), got {got}; try -o {option}={expected}"
        for option, expected, got in values
        if expected != got and has_effect(restored.config, option)
    ]
    if config.model.attention == restored.config.model.attention:  # otherwise, the data set has no regions, or others
        try:
            check_encoder(restored, corpus)
        except CheckpointError as error:
            other.append(f"{error}; or train without that model, as -c photos-thousands does")
    if other:
        raise ConfigError(other)
    trained_ids = restored.vocab.word_to_idx  # of shared words, the ids in both vocabularies: (2, S)
    shared = np.array([(i, trained_ids[word]) for i, word in enumerate(corpus.vocab.words) if word in trained_ids]).T
    new, expected, offsets = new_words(restored, corpus)
    params: Params = {}
    for name, w in restored.model.params.items():
        trained = cast(w, model.dtype)
        if trained is None:
            raise CheckpointError(
                f"{restored.path}: array params/{name}: a parameter is too large for model.dtype "
                f"{config.model.dtype}; set it to {restored.config.model.dtype}"
            )
        params[name] = trained
        if name in WORD_AXES:
            parts = np.moveaxis(trained, WORD_AXES[name], 0)
            words = np.zeros((len(corpus.vocab), *parts.shape[1:]), model.dtype)
            words[new] = expected @ parts + (offsets if name == "b_vocab" else 0)
            words[shared[0]] = parts[shared[1]]
            params[name] = np.ascontiguousarray(np.moveaxis(words, 0, WORD_AXES[name]))
    standardizers = restored.model.standardizer, restored.model.region_standardizer
    record: dict[str, Any] = {
        "checkpoint": os.fspath(restored.path),
        "shared_words": shared.shape[1] - len(SPECIAL),
        "words": len(corpus.vocab) - len(SPECIAL),
        "dropped_words": len(restored.vocab) - shared.shape[1],
    }
    smoothing = config.train.label_smoothing
    names = np.zeros(len(corpus.vocab), bool)
    if restored.summary is not None:
        names[new] = expected @ restored.summary.regression.names > 0.5
    return assemble_model(vars(config.model), model.sizes, params, model.null, standardizers, smoothing), record, names


EXPECTED_CAPTIONS, EXPECTED_BATCH = 4000, 128
"""Training captions from which the parameters of new words are estimated, and how many of them at a time."""
OCCURRENCES, CANDIDATES = 8, 16
"""The first occurrences of a new word that are used, and those of the same position and batch; and how many trained
words are compared in each."""


def new_words(restored: Restored, corpus: Corpus) -> tuple[Array, Array, Array]:
    """Return the new words of a data set, the trained words that a model expects in their places, and bias offsets.

    q_w = mean over occurrences of w of P(v | image, words before, next word),   P(v | ...) ∝ P(v | before) P(next | v)
    offset_w = log min(1, n_w / Σ_v q_wv Σ P(v))

    The next word decides: before *runs*, *bruno* replaces *dog*, not *a*, the first word of most captions. The v are
    the `CANDIDATES` most probable trained words after the words before, without special tokens; n_w are the occurrences
    of w in a sample of the training captions, and the sum of P(v) is over all words of the sample: the expected
    occurrences of v. With the parameters Σ_v q_wv θ_v, and offset_w added to its bias, a name begins as a rarer synonym
    of what the model would have said.
    Words that are not in the sample, and all words for a model with attention, get the mean of all trained words: with
    initial parameters, whose scores are near 0, they would be far more probable than these.

    Shapes: -> ids (W,), q (W, trained words), offsets (W,).
    Source: Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models", with expected words instead
    of all.
    """
    vocab, old, train, step = corpus.vocab, restored.vocab, corpus.split("train"), restored.model.for_inference().step
    ids = np.array([old.word_to_idx.get(word, -1) for word in vocab.words])
    new = np.flatnonzero(ids < 0)
    is_word, is_trained = (np.array([word not in SPECIAL for word in words]) for words in (vocab.words, old.words))
    sums, occurrences, total = np.zeros((len(new), len(old))), np.zeros(len(new)), np.zeros(len(old))
    rows = evenly_spaced(len(train.captions), 0 if restored.model.attends or not len(new) else EXPECTED_CAPTIONS)
    width = train.captions.shape[1]
    names = np.zeros(len(old), bool) if restored.summary is None else restored.summary.regression.names
    for first in range(0, len(rows), EXPECTED_BATCH):
        batch = rows[first : first + EXPECTED_BATCH]
        state = restored.model.start(train.features[train.image_idxs[batch]])
        for t in range(width - 1):
            tokens, following = train.captions[batch, t], train.captions[batch, t + 1]
            log_probs, state = step(np.where(ids < 0, old.unk, ids)[tokens], state)
            probs = np.exp(log_probs, dtype=np.float64) * is_trained
            total += probs[is_word[following]].sum(axis=0)
            is_new = ids[following] < 0
            places = np.searchsorted(new, following[is_new])
            few = np.flatnonzero(is_new)[occurrences[places] < OCCURRENCES]
            if len(few):
                after = ids[train.captions[batch[few], t + 2]] if t + 2 < width else np.full(len(few), -1)
                expected = _in_context(probs[few], take_rows(state, few), after, is_trained, names, step)
                np.add.at(sums, np.searchsorted(new, following[few]), expected)
            np.add.at(occurrences, places, 1)
    sums[occurrences == 0] = 1
    expected = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-9)
    rarer = np.where(occurrences > 0, occurrences / np.maximum(expected @ total, 1), 1)
    return new, expected, np.log(np.clip(rarer, 1e-6, 1))


def _in_context(
    probs: Array, state: State, following: Array, is_trained: Array, names: Array, step: StepFunction
) -> Array:
    """Return P(v | words before, next word), from P(v | words before); a next word of -1 is unknown.

    Two trained words may be more probable than one: *a dog* for a name. v is the first if only it names things,
    otherwise the second.

    Shapes: probs (N, V), following (N,) ids, and the state of the words before; is_trained, names (V,) -> (N, V).
    """
    rows, first = np.arange(len(probs)), probs.argmax(axis=1)
    joint, log_probs, state = _followed(probs, state, following, step)
    second = probs[rows, first, None] * np.exp(log_probs) * is_trained * (following >= 0)[:, None]
    of_two, *_ = _followed(second, state, following, step)
    is_first = names[first, None] & ~names
    joint[rows, first] += (of_two * is_first).sum(axis=1)
    joint += of_two * ~is_first
    return np.asarray(joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-300))


def _followed(probs: Array, state: State, following: Array, step: StepFunction) -> tuple[Array, Array, State]:
    """Return P(v) P(next | v), and log P(. | v) and the state after the most probable v."""
    count = min(CANDIDATES, probs.shape[1])
    rows, best = np.arange(len(probs))[:, None], np.argpartition(-probs, count - 1, axis=1)[:, :count]
    log_probs, state = step(best.ravel(), take_rows(state, rows.repeat(count)))
    of_next = log_probs.reshape(*best.shape, -1)[rows, np.arange(count), following[:, None]]
    joint = np.zeros_like(probs)
    joint[rows, best] = probs[rows, best] * np.where(following[:, None] < 0, 1, np.exp(of_next))
    first = rows[:, 0] * count + probs[rows, best].argmax(axis=1)
    return joint, log_probs[first], take_rows(state, first)
