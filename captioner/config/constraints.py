"""Constraints between options."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from captioner.config.options import Config

Condition = Mapping[str, Any]
"""A condition on the value of one option, in the vocabulary of JSON Schema: `const`, `minimum` and `not`."""

KEYWORDS: Mapping[str, Callable[[Any, Any], bool]] = {
    "const": operator.eq,
    "minimum": operator.ge,
    "not": lambda value, condition: not satisfies(value, condition),
}
NOT_NULL: Condition = {"not": {"const": None}}


def satisfies(value: Any, condition: Condition) -> bool:
    """Return whether a value satisfies every keyword of a condition."""
    return all(KEYWORDS[keyword](value, argument) for keyword, argument in condition.items())


class Constraint(NamedTuple):
    """A condition on two options; if it does not hold, `problem` is reported for `option`.

    With `reset`, an `option` that an override of `other` makes ineffective is set to its default instead. In at least
    one of the `alternatives`, all options satisfy their conditions; a constraint without alternatives cannot be
    expressed in JSON Schema.
    """

    option: str
    other: str
    holds: Callable[[Config], bool]
    problem: str
    reset: bool = False
    alternatives: tuple[Mapping[str, Condition], ...] = ()


def _any_of(
    option: str, other: str, problem: str, *alternatives: Mapping[str, Condition], reset: bool = False
) -> Constraint:
    """Require that at least one alternative holds."""

    def holds(config: Config) -> bool:
        return any(
            all(satisfies(attrgetter(path)(config), condition) for path, condition in alternative.items())
            for alternative in alternatives
        )

    return Constraint(option, other, holds, problem, reset, alternatives)


def _only_with(option: str, other: str, value: str) -> Constraint:
    """Require the default of `option` unless `other` has `value`."""
    default = attrgetter(option)(Config())
    return _any_of(
        option,
        other,
        f"has no effect without {other} {value} (set that, or leave this at {'null' if default is None else default})",
        {option: {"const": default}},
        {other: {"const": value}},
        reset=option.startswith("decode."),
    )


def _only_with_a_beam(option: str) -> Constraint:
    """Require 0 for an option that ranks the candidates of a beam unless there is more than one."""
    return _any_of(
        option,
        "decode.beam_width",
        "has no effect without decode.method beam and decode.beam_width >= 2 (set those, or leave this at 0)",
        {option: {"const": 0}},
        {"decode.method": {"const": "beam"}, "decode.beam_width": {"minimum": 2}},
        reset=True,
    )


def _needs_root(source: str, expected: str) -> Constraint:
    """Require `data.root` for a data source."""
    return _any_of(
        "data.root",
        "data.source",
        f"required by data.source {source} ({expected})",
        {"data.source": {"not": {"const": source}}},
        {"data.root": NOT_NULL},
    )


CONSTRAINTS = (
    _needs_root("cs231n", "the folder with coco2014_captions.h5"),
    _needs_root("prepared", "a file written by `captioner prepare`"),
    _only_with("train.lr_decay", "train.schedule", "exponential"),
    _only_with("train.weight_decay", "train.update_rule", "adamw"),
    _any_of(
        "train.objective",
        "train.init_from",
        "self_critical needs a trained model (set train.init_from to its run)",
        {"train.objective": {"not": {"const": "self_critical"}}},
        {"train.init_from": NOT_NULL},
    ),
    _any_of(
        "train.label_smoothing",
        "train.objective",
        "has no effect with train.objective self_critical (set another, or leave this at 0)",
        {"train.label_smoothing": {"const": 0}},
        {"train.objective": {"not": {"const": "self_critical"}}},
    ),
    Constraint(
        "validate.score_every",
        "validate.every",
        lambda c: c.validate.score_every is None or c.validate.score_every % c.validate.every == 0,
        "expected a multiple of validate.every",
    ),
    _any_of(
        "validate.best_metric",
        "validate.score_every",
        "is never measured (set validate.score_every 1, or leave this at loss)",
        {"validate.best_metric": {"const": "loss"}},
        {"validate.score_every": NOT_NULL},
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
