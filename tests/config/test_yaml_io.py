"""Configs are read from YAML texts and overrides, and every option and bound is checked."""

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from config_texts import problems

from captioner.config.options import Config
from captioner.config.schema import Option, build, options
from captioner.config.values import write
from captioner.config.yaml_io import parse


@pytest.mark.parametrize(
    "text",
    ["", "\n", "# nothing\n", "---\n", "null\n", "{}\n", "train:\n# epochs: 3\nmodel:\n", "\ufeff", "---\n...\n"],
)
@pytest.mark.usefixtures("either_loader")
def test_an_empty_text_gives_the_defaults(text: str) -> None:
    assert parse(text, "my.yaml") == Config()


@pytest.mark.usefixtures("either_loader")
def test_reads_options_of_every_depth_and_kind() -> None:
    text = "seed: 7\r\ndata: {scenes: {train: 40}, root: no, standardize: true}\rtrain:\n  learning_rate: 1e-2\n"
    config = parse(text, "my.yaml", ["model.cell=rnn", "train.patience = 3", "train.patience=null"], Path("/"))
    expected = {
        "seed": 7,
        "data.scenes.train": 40,
        "data.root": Path("/no"),
        "data.standardize": True,
        "train.learning_rate": 1e-2,
        "model.cell": "rnn",
    }
    assert config == build(expected)


def test_the_last_override_wins_over_earlier_ones_and_the_text() -> None:
    assert parse("seed: 1", "my.yaml", ["seed=2", "seed=3"]).seed == 3


@pytest.mark.parametrize("option", options(), ids=lambda option: option.path)
def test_every_option_is_read_from_a_file_and_an_override(option: Option) -> None:
    value = attrgetter(option.path)(parse("", "", [f"{option.path}={write(option, option.default)}"]))
    assert value == option.default
    assert problems(f"{option.path.replace('.', ': {')}: [1]" + "}" * option.path.count(".")) == [
        f"my.yaml:1: {option.path}: expected {option.expected()}, got a list"
    ]


@pytest.mark.parametrize(
    ("option", "bound"),
    [(option, bound) for option in options() for bound in option.bounds],
    ids=lambda x: getattr(x, "path", str(x)),
)
def test_every_bound_is_checked(option: Option, bound: Any) -> None:
    outside = int(bound.limit) + (-1 if bound.sign.startswith(">") else 1)
    got = f"expected {option.expected()}, got {outside}"
    assert problems("", f"{option.path}={outside}") == [f"-o {option.path}={outside}: {got}"]
