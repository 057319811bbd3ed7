"""The table of options is complete."""

import dataclasses
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import pytest

from captioner.config.checks import CONSTRAINTS
from captioner.config.option_table import NOUNS, OPTIONS, Option, options, replaced, sections
from captioner.config.options import Config, Prepare


@pytest.mark.parametrize("option", [*options(), *options(Prepare)], ids=lambda option: option.path)
def test_every_option_is_complete_and_its_bounds_choices_and_null_are_checked(option: Option) -> None:
    section = Config() if OPTIONS.get(option.path) == option else Prepare()
    assert attrgetter(option.path)(section) == option.default
    assert option.admits(option.default)
    assert option.kind in NOUNS
    assert type(option.default) is (type(None) if option.default is None else option.kind)
    assert option.bounds or option.kind not in (int, float)
    assert option.doc
    assert not {"\n", "#"} & {*option.doc}
    assert option.admits(None) == option.nullable == ("null" in option.expected())
    for bound in option.bounds:
        outside = bound.limit - 1 if bound.sign.startswith(">") else bound.limit + 1
        assert option.admits(bound.limit) == bound.sign.endswith("=")
        assert not option.admits(outside)
        assert str(bound) in option.expected()
    for choice in option.choices:
        assert option.admits(choice)
        assert choice in option.expected()
    assert not (option.choices and option.admits("gru2"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.decoder", "rnn, lstm, gru or transformer"),
        ("train.update_rule", "sgd, sgd_momentum, rmsprop, adam or adamw"),
        ("model.hidden_dim", "an integer >= 1"),
        ("train.learning_rate", "a number > 0"),
        ("train.momentum", "a number >= 0 and < 1"),
        ("train.clip_norm", "a number > 0 or null"),
        ("data.root", "a path or null"),
        ("data.standardize", "true or false"),
        ("validate.split", "a name"),
    ],
)
def test_valid_values_are_described(path: str, expected: str) -> None:
    assert OPTIONS[path].expected() == expected


def test_every_section_is_a_parent_of_options_and_has_a_docstring() -> None:
    parents = {path[: path.rindex(".")] for path in OPTIONS if "." in path}
    assert parents | {"data"} == sections().keys()
    assert all(doc and "\n" not in doc for doc in sections().values())
    assert not sections().keys() & OPTIONS.keys()


def test_one_line_adds_an_option() -> None:
    @dataclasses.dataclass(frozen=True)
    class Larger(Config):
        beam: Annotated[int, "beam width", ">= 1", "< 9"] = 3

    # Annotations are strings and refer to names of this module, as in config/options.py.
    (new,) = set(options(Larger)) - set(options())
    assert (new.path, new.kind, new.default, new.expected()) == ("beam", int, 3, "an integer >= 1 and < 9")


def test_build_sets_values_and_keeps_the_other_defaults() -> None:
    values = {"seed": 3, "data.scenes.train": 5, "model.decoder": "rnn", "data.root": Path("/x")}
    config = replaced(Config(), values)
    for path, option in OPTIONS.items():
        assert attrgetter(path)(config) == values.get(path, option.default)
    assert replaced(Config(), {}) == Config()


def test_constraints_name_options_and_hold_for_the_defaults() -> None:
    for constraint in CONSTRAINTS:
        assert {constraint.option, constraint.other} <= OPTIONS.keys()
        assert constraint.other in constraint.describe(Config())
        assert constraint.holds(Config())


def test_a_config_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]
