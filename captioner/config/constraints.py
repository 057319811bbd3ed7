"""Constraints between options."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import NamedTuple

from captioner.config.options import Config


class Constraint(NamedTuple):
    """A condition on two options; if it does not hold, `problem` is reported for `option`.

    With `reset`, an `option` that an override of `other` makes ineffective is set to its default instead.
    """

    option: str
    other: str
    holds: Callable[[Config], bool]
    problem: str
    reset: bool = False


def _only_with(option: str, other: str, value: str) -> Constraint:
    """Require the default of `option` unless `other` has `value`."""
    get, get_other = operator.attrgetter(option), operator.attrgetter(other)
    default = get(Config())
    return Constraint(
        option,
        other,
        lambda c: get(c) == default or get_other(c) == value,
        f"has no effect without {other} {value} (set that, or leave this at {'null' if default is None else default})",
        reset=option.startswith("decode."),
    )


def _only_with_a_beam(option: str) -> Constraint:
    """Require 0 for an option that ranks the candidates of a beam unless there is more than one."""
    get = operator.attrgetter(option)
    return Constraint(
        option,
        "decode.beam_width",
        lambda c: get(c) == 0 or (c.decode.method == "beam" and c.decode.beam_width > 1),
        "has no effect without decode.method beam and decode.beam_width >= 2 (set those, or leave this at 0)",
        reset=True,
    )


CONSTRAINTS = (
    Constraint(
        "data.root",
        "data.source",
        lambda c: c.data.source != "cs231n" or c.data.root is not None,
        "required by data.source cs231n (the folder with coco2014_captions.h5)",
    ),
    Constraint(
        "data.root",
        "data.source",
        lambda c: c.data.source != "prepared" or c.data.root is not None,
        "required by data.source prepared (a file written by `captioner prepare`)",
    ),
    _only_with("model.attention_dim", "model.attention", "adaptive"),
    _only_with("model.dropout_regions", "model.attention", "adaptive"),
    _only_with("model.dropout_keys", "model.attention", "adaptive"),
    _only_with("train.lr_decay", "train.schedule", "exponential"),
    _only_with("train.weight_decay", "train.update_rule", "adamw"),
    Constraint(
        "train.objective",
        "train.init_from",
        lambda c: c.train.objective == "cross_entropy" or c.train.init_from is not None,
        "self_critical needs a trained model (set train.init_from to its run)",
    ),
    Constraint(
        "train.label_smoothing",
        "train.objective",
        lambda c: c.train.label_smoothing == 0 or c.train.objective == "cross_entropy",
        "has no effect without train.objective cross_entropy (set that, or leave this at 0)",
    ),
    Constraint(
        "validate.score_every",
        "validate.every",
        lambda c: c.validate.score_every is None or c.validate.score_every % c.validate.every == 0,
        "expected a multiple of validate.every",
    ),
    Constraint(
        "validate.best_metric",
        "validate.score_every",
        lambda c: c.validate.best_metric == "loss" or c.validate.score_every is not None,
        "is never measured (set validate.score_every 1, or leave this at loss)",
    ),
    Constraint(
        "decode.min_length",
        "decode.max_length",
        lambda c: c.decode.min_length <= c.decode.max_length,
        "expected at most decode.max_length",
    ),
    _only_with("decode.beam_width", "decode.method", "beam"),
    _only_with_a_beam("decode.length_penalty"),
    _only_with_a_beam("decode.consensus"),
    _only_with("decode.temperature", "decode.method", "sampling"),
    _only_with("decode.top_k", "decode.method", "sampling"),
    _only_with("decode.top_p", "decode.method", "sampling"),
    _only_with("decode.seed", "decode.method", "sampling"),
)
