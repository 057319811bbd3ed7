"""The table of options is complete, its defaults are valid, and one line adds an option."""

import dataclasses
import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import pytest

from captioner.config.checks import CONSTRAINTS
from captioner.config.options import Config, Prepare
from captioner.config.schema import NOUNS, Option, build, options, sections

TABLE = {option.path: option for option in options()}


@pytest.mark.parametrize("option", options(), ids=TABLE)
def test_every_option_is_complete(option: Option) -> None:
    assert attrgetter(option.path)(Config()) == option.default
    assert option.admits(option.default)
    assert option.kind in NOUNS
    assert type(option.default) is (type(None) if option.default is None else option.kind)
    assert option.doc
    assert "\n" not in option.doc
    assert "#" not in option.doc


@pytest.mark.parametrize("option", options(), ids=TABLE)
def test_bounds_choices_and_null_are_checked(option: Option) -> None:
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


@pytest.mark.parametrize("option", options(Prepare), ids=lambda option: option.path)
def test_every_option_of_prepare_has_a_default_bounds_and_documentation(option: Option) -> None:
    assert option.admits(getattr(Prepare(), option.path))
    assert getattr(Prepare(), option.path) == option.default
    assert type(option.default) is (type(None) if option.nullable else option.kind)
    assert option.bounds or option.kind not in (int, float)
    assert option.doc
    assert "\n" not in option.doc


def test_a_number_has_a_bound() -> None:
    unbounded = [option.path for option in options() if option.kind in (int, float) and not option.bounds]
    assert unbounded == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.cell", "rnn, lstm or gru"),
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
    assert TABLE[path].expected() == expected


def test_every_section_is_a_parent_of_options_and_has_a_docstring() -> None:
    parents = {path[: path.rindex(".")] for path in TABLE if "." in path}
    assert parents | {"data"} == sections().keys()
    assert all(doc and "\n" not in doc for doc in sections().values())
    assert not sections().keys() & TABLE.keys()


def test_one_line_adds_an_option() -> None:
    @dataclasses.dataclass(frozen=True)
    class Larger(Config):
        beam: Annotated[int, "beam width", ">= 1", "< 9"] = 3

    # Annotations are strings and refer to names of this module, as in config/options.py.
    (new,) = set(options(Larger)) - set(options())
    assert (new.path, new.kind, new.default, new.expected()) == ("beam", int, 3, "an integer >= 1 and < 9")


def test_build_sets_values_and_keeps_the_other_defaults() -> None:
    config = build({"seed": 3, "data.scenes.train": 5, "model.cell": "rnn", "data.root": Path("/x")})
    assert (config.seed, config.data.scenes.train, config.model.cell) == (3, 5, "rnn")
    expected = dataclasses.replace(
        Config(),
        seed=3,
        model=dataclasses.replace(Config().model, cell="rnn"),
        data=dataclasses.replace(
            Config().data, root=Path("/x"), scenes=dataclasses.replace(Config().data.scenes, train=5)
        ),
    )
    assert config == expected
    assert build({}) == Config()


def test_constraints_name_options_and_hold_for_the_defaults() -> None:
    for constraint in CONSTRAINTS:
        assert {constraint.option, constraint.other} <= TABLE.keys()
        assert constraint.other in constraint.problem
        assert constraint.holds(Config())


def test_a_config_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1  # type: ignore[misc]


def test_the_options_import_only_the_standard_library() -> None:
    others = "{'numpy', 'yaml', 'click', 'h5py', 'tqdm'}"
    code = f"import captioner.config.options, sys; print(sorted({others} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
