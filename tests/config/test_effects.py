"""An override without effect is a problem; in a file it is accepted."""

from pathlib import Path

import pytest

from captioner.config.checks import DEFAULTS, USED_BY, USED_WITH, check_used, is_used
from captioner.config.options import Config
from captioner.config.schema import sections
from captioner.config.yaml_io import OPTIONS, dump, parse
from captioner.errors import ConfigError


def test_the_tables_name_options_and_sections() -> None:
    assert {name for used in USED_BY.values() for name in used} <= OPTIONS.keys() | sections().keys()
    for path, (other, values) in USED_WITH.items():
        assert path in OPTIONS
        assert set(values) < set(OPTIONS[other].choices)


@pytest.mark.parametrize("command", USED_BY)
def test_what_a_command_does_not_use_is_reported(command: str) -> None:
    unused = [path for path in OPTIONS if not is_used(path, command)]
    assert unused
    with pytest.raises(ConfigError) as caught:
        check_used([f"{path}=1" for path in OPTIONS], command)
    assert [line.split(":")[0] for line in caught.value.problems] == [f"-o {path}=1" for path in unused]
    check_used([f"{path}=1" for path in OPTIONS if path not in unused], command)


@pytest.mark.parametrize("command", ["train", "config show", "config check"])
def test_other_commands_use_every_option(command: str) -> None:
    check_used([f"{path}=1" for path in OPTIONS], command)


def test_unknown_options_are_left_to_the_parser() -> None:
    check_used(["no", "model.hiden_dim=3", ""], "sample")


@pytest.mark.parametrize("path", USED_WITH)
def test_an_option_needs_its_other_option(path: str) -> None:
    option, (other, values) = OPTIONS[path], USED_WITH[path]
    value = {bool: "false", int: "7", float: "0.5", Path: "/x"}[option.kind]
    root = [] if path == "data.root" else ["data.root=/x"]
    for choice in OPTIONS[other].choices:
        wanted = [f"{other}={choice}", f"{path}={value}"]
        wanted += root if other == "data.source" and choice != "scenes" else []
        wanted += ["train.init_from=/x"] if choice == "self_critical" else []
        if choice in values:
            parse("", "", wanted)
            continue
        with pytest.raises(ConfigError) as caught:
            parse("", "", wanted)
        (problem,) = caught.value.problems
        assert problem.startswith(f"-o {path}={value}: {path}: has no effect with {other} {choice}, only with ")


def test_the_default_value_is_accepted() -> None:
    config = parse("", "", ["train.momentum=0.9", "model.cell=rnn", "model.forget_bias=0", "data.root=null"])
    assert config.train.momentum == DEFAULTS["train.momentum"]


def test_a_file_may_have_options_without_effect() -> None:
    text = dump(Config()).replace("momentum: 0.9", "momentum: 0.5")
    assert parse(text, "my.yaml").train.momentum == 0.5
    assert parse(text, "my.yaml", ["train.epochs=3"]).train.momentum == 0.5


def test_an_invalid_other_option_is_the_only_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("", "", ["train.update_rule=sgdm", "train.momentum=0.5"])
    assert len(caught.value.problems) == 1


def test_gradcheck_uses_every_option_that_changes_the_gradients() -> None:
    overrides = ["model.attention=adaptive", "model.dropout_keys=0.1", "model.dropout_regions=0.1", "model.cell=gru"]
    check_used(overrides, "gradcheck")
