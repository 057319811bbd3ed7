"""Start from the parameters of a checkpoint (train.init_from); new words get those of the words in their places."""

from __future__ import annotations

import os
from operator import attrgetter
from typing import Any

import numpy as np

from captioner.arrays import Array, Params, cast, evenly_spaced
from captioner.captioning.find_checkpoint import DEFAULT_MODEL
from captioner.captioning.load import check_encoder, open_run
from captioner.captioning.saved_model import SavedModel
from captioner.config.checks import SHAPING, has_effect
from captioner.config.option_table import replaced
from captioner.config.options import Config
from captioner.config.overrides import differences, override
from captioner.data.corpus import Corpus
from captioner.data.vocabulary import SPECIAL
from captioner.errors import CheckpointError, ConfigError
from captioner.model.build import assemble_model
from captioner.model.captioning_model import CaptioningModel, State, StepFunction, take_rows


def base_of(config: Config) -> SavedModel | None:
    """Open the model of `train.init_from`, if there is one.

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
    model: CaptioningModel, config: Config, base: SavedModel, corpus: Corpus
) -> tuple[CaptioningModel, dict[str, Any], Array]:
    """Initialize a model with the parameters and the standardizer of a base model.

    Of the parameters in `WORD_AXES`, the parts of shared words are copied, and other words get those of `new_words`.
    Return also what to record: the checkpoint, and the numbers of shared words, of all words, and of trained words that
    are dropped, without special tokens; and which new words name things, because the trained words in their places do.

    Raises: CheckpointError when a parameter is too large for the dtype; ConfigError when the encoder or an option in
    `SHAPING` that has an effect on the trained model differs.
    """
    values = ((option, attrgetter(option)(base.config), attrgetter(option)(config)) for option in SHAPING)
    other = [
        f"{option}: expected {expected} as in {base.path} (train.init_from), got {got}; try -o {option}={expected}"
        for option, expected, got in values
        if expected != got and has_effect(base.config, option)
    ]
    if config.model.attention == base.config.model.attention:  # otherwise, the data set has no regions, or others
        try:
            check_encoder(base, corpus)
        except CheckpointError as error:
            other.append(f"{error}; or train without that model, as -c photos-thousands does")
    if other:
        raise ConfigError(other)
    trained_ids = base.vocab.word_to_idx  # of shared words, the ids in both vocabularies: (2, S)
    shared = np.array([(i, trained_ids[word]) for i, word in enumerate(corpus.vocab.words) if word in trained_ids]).T
    new, expected, offsets = new_words(base, corpus)
    params: Params = {}
    for name, w in base.model.params.items():
        trained = cast(w, model.dtype)
        if trained is None:
            raise CheckpointError(
                f"{base.path}: array params/{name}: a parameter is too large for model.dtype "
                f"{config.model.dtype}; set it to {base.config.model.dtype}"
            )
        params[name] = trained
        if name in WORD_AXES:
            parts = np.moveaxis(trained, WORD_AXES[name], 0)
            words = np.zeros((len(corpus.vocab), *parts.shape[1:]), model.dtype)
            words[new] = expected @ parts + (offsets if name == "b_vocab" else 0)
            words[shared[0]] = parts[shared[1]]
            params[name] = np.ascontiguousarray(np.moveaxis(words, 0, WORD_AXES[name]))
    standardizers = base.model.standardizer, base.model.region_standardizer
    record: dict[str, Any] = {
        "checkpoint": os.fspath(base.path),
        "shared_words": shared.shape[1] - len(SPECIAL),
        "words": len(corpus.vocab) - len(SPECIAL),
        "dropped_words": len(base.vocab) - shared.shape[1],
    }
    smoothing = config.train.label_smoothing
    names = np.zeros(len(corpus.vocab), bool)
    if base.summary is not None:
        names[new] = expected @ base.summary.regression.names > 0.5
    return assemble_model(vars(config.model), model.sizes, params, model.null, standardizers, smoothing), record, names


EXPECTED_CAPTIONS, EXPECTED_BATCH = 4000, 128
"""Training captions from which the parameters of new words are estimated, and how many of them at a time."""
OCCURRENCES, CANDIDATES = 8, 16
"""The first occurrences of a new word that are used, and those of the same position and batch; and how many trained
words are compared in each."""


def new_words(base: SavedModel, corpus: Corpus) -> tuple[Array, Array, Array]:
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
    vocab, old, train, step = corpus.vocab, base.vocab, corpus.split("train"), base.model.for_inference().step
    ids = np.array([old.word_to_idx.get(word, -1) for word in vocab.words])
    new = np.flatnonzero(ids < 0)
    is_word, is_trained = (np.array([word not in SPECIAL for word in words]) for words in (vocab.words, old.words))
    sums, occurrences, total = np.zeros((len(new), len(old))), np.zeros(len(new)), np.zeros(len(old))
    rows = evenly_spaced(len(train.captions), 0 if base.model.attends or not len(new) else EXPECTED_CAPTIONS)
    width = train.captions.shape[1]
    names = np.zeros(len(old), bool) if base.summary is None else base.summary.regression.names
    for first in range(0, len(rows), EXPECTED_BATCH):
        batch = rows[first : first + EXPECTED_BATCH]
        state = base.model.start(train.features[train.image_idxs[batch]])
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
