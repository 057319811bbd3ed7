"""Combinations of options that must hold."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import NamedTuple

from captioner.config.options import Config


class Constraint(NamedTuple):
    """A combination of options that must hold, or `option` has the `problem`; it depends on one `other` option.

    An option that `gives_way` is left at its default instead, where an override of the other left it without effect.
    """

    option: str
    other: str
    holds: Callable[[Config], bool]
    problem: str
    gives_way: bool = False


def _only_with(option: str, other: str, value: str) -> Constraint:
    """An option that must stay at its default unless another has a value."""
    get, get_other = operator.attrgetter(option), operator.attrgetter(other)
    default = get(Config())
    return Constraint(
        option,
        other,
        lambda c: get(c) == default or get_other(c) == value,
        f"does nothing without {other} {value} (set that, or leave this at {'null' if default is None else default})",
        gives_way=option.startswith("decode."),
    )


def _only_with_a_beam(option: str) -> Constraint:
    """An option that ranks captions, of which a beam has several."""
    get = operator.attrgetter(option)
    return Constraint(
        option,
        "decode.beam_width",
        lambda c: get(c) == 0 or (c.decode.method == "beam" and c.decode.beam_width > 1),
        "does nothing without decode.method beam and a decode.beam_width of 2 or more (set those, or leave this at 0)",
        gives_way=True,
    )


CONSTRAINTS = (
    Constraint(
        "data.root",
        "data.source",
        lambda c: c.data.source != "cs231n" or c.data.root is not None,
        "needed by data.source cs231n (the folder with coco2014_captions.h5)",
    ),
    Constraint(
        "data.root",
        "data.source",
        lambda c: c.data.source != "prepared" or c.data.root is not None,
        "needed by data.source prepared (the file that `captioner prepare` wrote)",
    ),
    _only_with("train.lr_decay", "train.schedule", "exponential"),
    _only_with("train.weight_decay", "train.update_rule", "adamw"),
    Constraint(
        "train.objective",
        "train.init_from",
        lambda c: c.train.objective == "cross_entropy" or c.train.init_from is not None,
        "self-critical training goes on from a trained model (set train.init_from to its run)",
    ),
    Constraint(
        "train.label_smoothing",
        "train.objective",
        lambda c: c.train.label_smoothing == 0 or c.train.objective == "cross_entropy",
        "smooths no reward (set train.objective cross_entropy, or remove this)",
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
        "is never measured (set validate.score_every 1, or remove this)",
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
