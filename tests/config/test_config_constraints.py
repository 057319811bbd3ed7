"""Violated constraints between options are reported with their place; decoding options without effect are reset."""

import pytest
from config_texts import problems

from captioner.config.checks import CONSTRAINTS
from captioner.config.options import Decode
from captioner.config.yaml_io import parse
from captioner.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "overrides", "place"),
    [
        ("data:\n  source: cs231n", (), "my.yaml:2: data.root"),
        ("data:\n  source: cs231n\n  root:", (), "my.yaml:3: data.root"),
        ("", ("data.source=cs231n",), "-o data.source=cs231n: data.root"),
        ("train: {lr_decay: 0.5}", (), "my.yaml:1: train.lr_decay"),
        ("train: {schedule: exponential, lr_decay: 0.5}", ("train.schedule=cosine",), "my.yaml:1: train.lr_decay"),
        ("train: {weight_decay: 0.1}", (), "my.yaml:1: train.weight_decay"),
        ("decode: {min_length: 9}", ("decode.max_length=8",), "my.yaml:1: decode.min_length"),
        ("", ("decode.max_length=8", "decode.min_length=9"), "-o decode.min_length=9: decode.min_length"),
        ("decode: {method: sampling}", ("decode.beam_width=2",), "-o decode.beam_width=2: decode.beam_width"),
        ("decode: {length_penalty: 0.7}", (), "my.yaml:1: decode.length_penalty"),
        ("decode: {beam_width: 1, length_penalty: 0.7}", (), "my.yaml:1: decode.length_penalty"),
        ("decode: {beam_width: 1, consensus: 4}", (), "my.yaml:1: decode.consensus"),
        ("decode: {temperature: 0.7}", (), "my.yaml:1: decode.temperature"),
        ("decode: {method: sampling}", ("decode.method=beam", "decode.top_k=5"), "-o decode.top_k=5: decode.top_k"),
        ("", ("decode.top_p=0.9",), "-o decode.top_p=0.9: decode.top_p"),
        ("", ("decode.seed=1",), "-o decode.seed=1: decode.seed"),
    ],
)
def test_a_violated_constraint_is_reported_with_its_place(text: str, overrides: tuple[str, ...], place: str) -> None:
    constraint = next(constraint for constraint in CONSTRAINTS if place.endswith(constraint.option))
    assert problems(text, *overrides) == [f"{place}: {constraint.problem}"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.source=cs231n", "data.root=x"],
        ["train.schedule=exponential", "train.lr_decay=0.5"],
        ["train.update_rule=adamw", "train.weight_decay=0.1"],
        ["decode.min_length=8", "decode.max_length=8"],
        ["decode.beam_width=2", "decode.length_penalty=0.7"],
        [f"decode.{name}" for name in ("method=sampling", "temperature=0.7", "top_k=5", "top_p=0.9", "seed=1")],
    ],
)
def test_a_satisfied_constraint_reports_nothing(overrides: list[str]) -> None:
    parse("", "", overrides)


def test_a_constraint_on_an_invalid_option_reports_nothing() -> None:
    (problem,) = problems("train: {schedule: exponentail, lr_decay: 0.5}")
    assert "did you mean exponential?" in problem


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["decode.method=sampling"], Decode(method="sampling", no_repeat_ngram=2)),
        (["decode.beam_width=1"], Decode(no_repeat_ngram=2)),
        (["decode.beam_width=3"], Decode(beam_width=3, length_penalty=0.5, consensus=4.0, no_repeat_ngram=2)),
    ],
)
def test_an_override_resets_decoding_options_without_effect(overrides: list[str], expected: Decode) -> None:
    text = "decode: {beam_width: 5, length_penalty: 0.5, consensus: 4, no_repeat_ngram: 2}"
    assert parse(text, "my.yaml", overrides).decode == expected


def test_only_decoding_options_of_the_file_are_reset() -> None:
    with pytest.raises(ConfigError, match=r"decode\.beam_width: has no effect without decode.method beam"):
        parse("decode: {beam_width: 5}", "my.yaml", ["decode.method=sampling", "decode.beam_width=4"])
    with pytest.raises(ConfigError, match=r"train\.weight_decay: has no effect"):
        parse("train: {update_rule: adamw, weight_decay: 0.1}", "my.yaml", ["train.update_rule=adam"])
