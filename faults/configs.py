"""Random configs over every option that training depends on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from captioner.config.constraints import CONSTRAINTS
from captioner.config.options import Config
from captioner.config.schema import build
from captioner.config.yaml_io import dump, parse

Draw = Callable[[np.random.Generator], Any]


def one_of(*values: Any) -> Draw:
    """Each value is as likely; a value that stands twice is twice as likely."""
    return lambda rng: values[int(rng.integers(len(values)))]


DRAWN: Mapping[str, Draw] = {
    "seed": one_of(0, 1, 2, 77),
    "threads": one_of(1, 1, 2, 3),
    "data.standardize": one_of(False, True),
    "data.max_train": one_of(None, None, 23, 40),
    "data.memory_mib": one_of(1, 1024),
    "model.cell": one_of("rnn", "lstm"),
    "model.wordvec_dim": one_of(4, 7, 12),
    "model.hidden_dim": one_of(4, 9, 12),
    "model.image_input": one_of("init", "first", "every"),
    "model.dtype": one_of("float32", "float64"),
    "model.dropout_features": one_of(0.0, 0.2),
    "model.dropout_embedding": one_of(0.0, 0.3),
    "model.dropout_hidden": one_of(0.0, 0.4),
    "model.forget_bias": one_of(0.0, 1.0),
    "model.output_bias": one_of("zeros", "log_frequency"),
    "train.objective": one_of("cross_entropy", "cross_entropy", "cross_entropy", "self_critical"),
    "train.epochs": one_of(1, 2, 3, 5),
    "train.max_steps": one_of(None, None, 7, 11, 18),
    "train.batch_size": one_of(7, 16, 16, 300),
    "train.label_smoothing": one_of(0.0, 0.1, 0.6),
    "train.ema_decay": one_of(None, 0.5, 0.99),
    "train.update_rule": one_of("sgd", "sgd_momentum", "rmsprop", "adam", "adam", "adamw"),
    "train.learning_rate": one_of(0.001, 0.01, 0.05),
    "train.momentum": one_of(0.9, 0.5),
    "train.decay_rate": one_of(0.99, 0.8),
    "train.beta1": one_of(0.9, 0.0, 0.7),
    "train.beta2": one_of(0.999, 0.9),
    "train.epsilon": one_of(1e-8, 1e-3),
    "train.weight_decay": one_of(0.0, 0.1),
    "train.clip_norm": one_of(None, 0.05, 1.0, 5.0),
    "train.schedule": one_of("constant", "exponential", "cosine"),
    "train.lr_decay": one_of(1.0, 0.7),
    "train.warmup_steps": one_of(0, 0, 3, 30),
    "train.log_every": one_of(1, 2, 3, 10),
    "train.save_every": one_of(None, None, 1, 4),
    "train.patience": one_of(None, 1, 2, 3),
    "validate.every": one_of(1, 1, 2, 3),
    "validate.split": one_of("val", "val", "train", "heldout"),
    "validate.max_captions": one_of(None, 5),
    "validate.score_every": one_of(None, None, 1, 2, 3),
    "validate.best_metric": one_of("loss", "loss", "bleu1", "rouge_l", "cider_d"),
    "decode.max_length": one_of(4, 12, 30),
    "decode.min_length": one_of(0, 3),
    "decode.no_repeat_ngram": one_of(None, 2),
    "decode.suppress_words": one_of(None, "a", "red, blue"),
    "decode.suppress_unk": one_of(False, True),
    "decode.method": one_of("beam", "sampling"),
    "decode.beam_width": one_of(1, 3),
    "decode.length_penalty": one_of(0.0, 0.7),
    "decode.consensus": one_of(0.0, 5.0),
    "decode.temperature": one_of(1.0, 0.5),
    "decode.top_k": one_of(None, 5),
    "decode.top_p": one_of(1.0, 0.8),
    "decode.seed": one_of(0, 3),
}
"""How the value of an option is drawn. Those of the data set and `train.init_from` are given."""


def draw(rng: np.random.Generator, given: Mapping[str, Any], start: Path) -> Config:
    """A valid config: what does not go with the rest is left at its default.

    Self-critical training starts from `start`.
    """
    values = {name: choose(rng) for name, choose in DRAWN.items()} | dict(given)
    if values["model.cell"] == "rnn":
        del values["model.forget_bias"]
    if values["train.objective"] == "self_critical":
        values["train.init_from"] = start
    while broken := [rule for rule in CONSTRAINTS if not rule.holds(build(values))]:
        del values[broken[0].option]
    return parse(dump(build(values)), "a drawn config")
