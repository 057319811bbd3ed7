"""Initial parameters from a checkpoint, of the same or another vocabulary (train.init_from)."""

from __future__ import annotations

import os
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from captioner.arrays import Array, Params, cast
from captioner.config.checks import SHAPING, has_effect
from captioner.config.options import Config
from captioner.data.corpus import Corpus
from captioner.data.vocabulary import SPECIAL
from captioner.errors import CheckpointError, ConfigError
from captioner.inference.load import open_run
from captioner.inference.restore import Restored, assemble_model, check_encoder
from captioner.model.captioning_model import CaptioningModel

WORD_AXES = {"W_embed": 0, "W_vocab": 1, "b_vocab": 0}
"""The axis of the words in each parameter that has one."""


def open_initial(path: Path) -> Restored:
    """Restore the model of `train.init_from`: a run, a checkpoint, or a model package by its folder or name.

    Options contain absolute paths, so a name is a path of the current folder where nothing exists.

    Raises: as `open_run`.
    """
    is_name = not os.path.lexists(path) and path.parent == Path(os.path.realpath("."))
    return open_run(path.name if is_name else path)


def initialize_from(
    model: CaptioningModel, config: Config, restored: Restored, corpus: Corpus
) -> tuple[CaptioningModel, dict[str, Any]]:
    """Initialize a model with the parameters and the standardizer of a restored one.

    Of the parameters in `WORD_AXES`, the parts of shared words are copied. Other words get the mean of those of all
    trained words: with initial ones, whose scores are near 0, they would be far more probable than the trained words.
    Return also what to record: the checkpoint, and the numbers of shared words, of all words, and of trained words that
    are dropped, without special tokens.

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
            other.append(str(error))
    if other:
        raise ConfigError(other)
    trained_ids = restored.vocab.word_to_idx  # of shared words, the ids in both vocabularies: (2, S)
    shared = np.array([(i, trained_ids[word]) for i, word in enumerate(corpus.vocab.words) if word in trained_ids]).T
    params: Params = {}
    for name, w in restored.model.params.items():
        trained = cast(w, model.dtype)
        if trained is None:
            raise CheckpointError(
                f"{restored.path}: array params/{name}: a parameter is too large for model.dtype "
                f"{config.model.dtype}; set it to {restored.config.model.dtype}"
            )
        params[name] = (
            _with_words(trained, WORD_AXES[name], len(corpus.vocab), *shared) if name in WORD_AXES else trained
        )
    standardizers = restored.model.standardizer, restored.model.region_standardizer
    record: dict[str, Any] = {
        "checkpoint": os.fspath(restored.path),
        "shared_words": shared.shape[1] - len(SPECIAL),
        "words": len(corpus.vocab) - len(SPECIAL),
        "dropped_words": len(restored.vocab) - shared.shape[1],
    }
    return assemble_model(config, model.sizes, params, model.null, standardizers), record


def _with_words(trained: Array, axis: int, words: int, ids: Array, trained_ids: Array) -> Array:
    """Return a trained parameter with one part per word of another vocabulary.

    That is the trained part of a shared word, or the mean for a new word.

    Source: Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models".
    """
    parts = np.moveaxis(trained, axis, 0)
    new = np.repeat(parts.mean(axis=0, keepdims=True), words, axis=0)
    new[ids] = parts[trained_ids]
    return np.ascontiguousarray(np.moveaxis(new, 0, axis))
