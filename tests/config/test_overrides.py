"""Overrides are values by path: from texts, from Python and from a saved record, with one set of checks."""

from pathlib import Path
from typing import Any

import pytest
from config_texts import configs, problems
from hypothesis import given

from captioner.config.options import Config
from captioner.config.overrides import (
    FORMER,
    checked_values,
    from_record,
    override,
    read_overrides,
    to_record,
)
from captioner.config.yaml_io import parse
from captioner.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model.hidden_dim=-2", "expected an integer >= 1, got -2"),
        ("hidden_dim=2", "unknown option (did you mean model.hidden_dim?)"),
        ("model=rnn", "expected an option, got a section; set one of its options, such as model.decoder"),
        ("train.patience=", "expected an integer >= 1 or null after the =, got nothing"),
        ("train.patience", "expected key=value, such as model.decoder=rnn"),
        ("", "expected key=value, such as model.decoder=rnn"),
        ("=1", "unknown option (captioner config show prints all options)"),
        ("seed=&x 1", "expected an integer >= 0, got &x 1"),
    ],
)
def test_a_problem_of_a_text_is_one_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_overrides([text])
    assert caught.value.problems == (f"-o {text}: {problem}",)


def test_all_problems_are_reported_at_once_and_the_last_value_is_used() -> None:
    with pytest.raises(ConfigError) as caught:
        read_overrides(["seed=y", "a=b", "threads=1"])
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == ["-o seed=y", "-o a=b"]
    assert read_overrides(["seed=1", " seed = 2 "]) == {"seed": 2}


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"seed": "1"}, "seed: expected an integer >= 0, got '1'"),
        ({"seed": True}, "seed: expected an integer >= 0, got True"),
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
        ({"train.learning_rate": float("nan")}, "train.learning_rate: expected a number > 0, got nan"),
        ({"model.dtype": "half"}, "model.dtype: expected float32 or float64, got 'half'"),
        ({1: 2}, "1: unknown option (captioner config show prints all options)"),
        (["seed=1"], "expected options by path, such as {\"decode.beam_width\": 5}, got ['seed=1']"),
        ({"model.hiden_dim": 1}, "model.hiden_dim: unknown option (did you mean model.hidden_dim?)"),
    ],
)
def test_values_of_python_have_the_type_and_bounds_of_their_option(values: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_values(values)
    assert caught.value.problems == (problem,)


def test_values_of_python_are_converted_and_must_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert checked_values({"decode.temperature": 2, "data.root": "x.h5"}) == {
        "decode.temperature": 2.0,
        "data.root": tmp_path / "x.h5",
    }
    with pytest.raises(ConfigError, match=r"train\.epochs has no effect on sample"):
        checked_values({"train.epochs": 3}, "sample")


@given(configs())
def test_a_record_is_read_back_as_an_equal_config(config: Config) -> None:
    assert from_record(to_record(config)) == config


def test_a_record_may_lack_options_but_has_no_others() -> None:
    record = to_record(Config())
    del record["decode.beam_width"]
    assert from_record(record) == override(Config())
    assert from_record({**record, **FORMER}) == override(Config())
    for damaged in ([], {**record, "cell": 1}, {**record, "train.momentum": 0.5}, {**record, "seed": "x"}):
        with pytest.raises(ConfigError):
            from_record(damaged)


def test_a_config_may_have_the_value_that_remains_of_a_former_option_but_no_other() -> None:
    text = "train: {momentum: 0.9, decay_rate: 0.990, epsilon: 1e-8}\nvalidate: {max_captions: null}"
    assert parse(text, "my.yaml") == override(Config())
    (problem,) = problems("train: {momentum: 0.5}")
    assert problem == "my.yaml:1: train.momentum: no longer an option; its value is always 0.9; leave it out"
    (problem,) = problems("", "validate.max_captions=7")
    assert problem == "-o validate.max_captions=7: no longer an option; its value is always null; leave it out"
