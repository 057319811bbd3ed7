"""Random valid configs over every option that affects training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from captioner.config.checks import CONSTRAINTS
from captioner.config.options import Config
from captioner.config.schema import build
from captioner.config.yaml_io import dump, parse

Sampler = Callable[[np.random.Generator], Any]


def choice(*values: Any) -> Sampler:
    """Sample uniformly from `values`; a repeated value is proportionally more likely."""
    return lambda rng: values[int(rng.integers(len(values)))]


SAMPLERS: Mapping[str, Sampler] = {
    "seed": choice(0, 1, 2, 77),
    "threads": choice(1, 1, 2, 3),
    "data.standardize": choice(False, True),
    "data.max_captions_per_image": choice(None, None, 1, 2),
    "data.max_train": choice(None, None, 23, 40),
    "data.memory_mib": choice(1, 1024),
    "model.cell": choice("rnn", "lstm", "gru"),
    "model.wordvec_dim": choice(4, 7, 12),
    "model.hidden_dim": choice(4, 9, 12),
    "model.image_input": choice("init", "first", "every"),
    "model.attention": choice("none", "adaptive"),
    "model.attention_dim": choice(5, 8),
    "model.dtype": choice("float32", "float64"),
    "model.dropout_features": choice(0.0, 0.2),
    "model.dropout_embedding": choice(0.0, 0.3),
    "model.dropout_hidden": choice(0.0, 0.4),
    "model.dropout_regions": choice(0.0, 0.2),
    "model.dropout_keys": choice(0.0, 0.3),
    "model.forget_bias": choice(0.0, 1.0),
    "model.output_bias": choice("zeros", "log_frequency"),
    "train.objective": choice("cross_entropy", "cross_entropy", "cross_entropy", "self_critical"),
    "train.epochs": choice(1, 2, 3, 5),
    "train.max_steps": choice(None, None, 7, 11, 18),
    "train.batch_size": choice(7, 16, 16, 300),
    "train.captions_per_image": choice(1, 2, 5),
    "train.label_smoothing": choice(0.0, 0.1, 0.6),
    "train.ema_decay": choice(None, 0.5, 0.99),
    "train.update_rule": choice("sgd", "sgd_momentum", "rmsprop", "adam", "adam", "adamw"),
    "train.learning_rate": choice(0.001, 0.01, 0.05),
    "train.momentum": choice(0.9, 0.5),
    "train.decay_rate": choice(0.99, 0.8),
    "train.beta1": choice(0.9, 0.0, 0.7),
    "train.beta2": choice(0.999, 0.9),
    "train.epsilon": choice(1e-8, 1e-3),
    "train.weight_decay": choice(0.0, 0.1),
    "train.clip_norm": choice(None, 0.05, 1.0, 5.0),
    "train.schedule": choice("constant", "exponential", "cosine"),
    "train.lr_decay": choice(1.0, 0.7),
    "train.warmup_steps": choice(0, 0, 3, 30),
    "train.log_every": choice(1, 2, 3, 10),
    "train.save_every": choice(None, None, 1, 4),
    "train.patience": choice(None, 1, 2, 3),
    "train.tensorboard": choice(False, False, False, True),
    "distill.captions_per_image": choice(3),  # only `captioner distill` uses them
    "distill.references": choice(0),
    "validate.every": choice(1, 1, 2, 3),
    "validate.split": choice("val", "val", "train", "heldout"),
    "validate.max_captions": choice(None, 5),
    "validate.score_every": choice(None, None, 1, 2, 3),
    "validate.best_metric": choice("loss", "loss", "bleu1", "rouge_l", "cider_d"),
    "decode.max_length": choice(4, 12, 30),
    "decode.min_length": choice(0, 3),
    "decode.no_repeat_ngram": choice(None, 2),
    "decode.suppress_words": choice(None, "a", "red, blue"),
    "decode.suppress_unk": choice(False, True),
    "decode.method": choice("beam", "sampling"),
    "decode.beam_width": choice(1, 3),
    "decode.length_penalty": choice(0.0, 0.7),
    "decode.consensus": choice(0.0, 5.0),
    "decode.temperature": choice(1.0, 0.5),
    "decode.top_k": choice(None, 5),
    "decode.top_p": choice(1.0, 0.8),
    "decode.seed": choice(0, 3),
}
"""Sampler of each option. The options of the data set and `train.init_from` are passed in."""


def sample_config(rng: np.random.Generator, given: Mapping[str, Any], start: Path) -> Config:
    """Sample a valid config; options that violate a constraint keep their defaults.

    Self-critical training starts from `start`.
    """
    values = {name: choose(rng) for name, choose in SAMPLERS.items()} | dict(given)
    if values["model.cell"] != "lstm":
        del values["model.forget_bias"]
    if values.get("data.source") == "prepared":
        del values["model.attention"]  # it has no regions
    if values["train.objective"] == "self_critical":
        values["train.init_from"] = start
    while broken := [rule for rule in CONSTRAINTS if not rule.holds(build(values))]:
        del values[broken[0].option]
    return parse(dump(build(values)), "a sampled config")
