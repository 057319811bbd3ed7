"""Violated constraints between options are reported with their place; options of a file without effect are reset."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from config_texts import problems

from captioner.config.checks import (
    BASE,
    CAPTIONS,
    INITIAL,
    LSTM,
    NEEDS,
    SEVERAL,
    USED_BY,
    Need,
    check_used,
    is_used,
    score_interval,
)
from captioner.config.option_table import sections
from captioner.config.options import Config, Decode
from captioner.config.overrides import NONE, differences, override, read_overrides
from captioner.config.yaml_io import OPTIONS, dump, load, parse
from captioner.errors import ConfigError
from captioner.layers import CELLS

SCST = ("train.objective=self_critical", "train.init_from=x")


@pytest.mark.parametrize(
    ("text", "overrides", "place"),
    [
        ("data:\n  source: cs231n", (), "my.yaml:2: data.root"),
        ("data:\n  source: cs231n\n  root:", (), "my.yaml:3: data.root"),
        ("", ("data.source=cs231n",), "-o data.source=cs231n: data.root"),
        ("model: {decoder: transformer, heads: 3}", (), "my.yaml:1: model.heads"),
        ("", (*SCST, "train.batch_size=20", "train.samples=30"), "-o train.samples=30: train.samples"),
        ("model: {heads: 4}", ("model.heads=4",), "-o model.heads=4: model.heads"),
        ("decode: {min_length: 9}", ("decode.max_length=8",), "my.yaml:1: decode.min_length"),
        ("", ("decode.max_length=8", "decode.min_length=9"), "-o decode.min_length=9: decode.min_length"),
        ("decode: {method: sampling}", ("decode.beam_width=2",), "-o decode.beam_width=2: decode.beam_width"),
        ("", ("train.schedule=cosine", "train.lr_decay=0.5"), "-o train.lr_decay=0.5: train.lr_decay"),
        (
            "",
            ("decode.beam_width=1", "decode.length_penalty=0.7"),
            "-o decode.length_penalty=0.7: decode.length_penalty",
        ),
        ("decode: {method: sampling}", ("decode.method=beam", "decode.top_k=5"), "-o decode.top_k=5: decode.top_k"),
    ],
)
def test_a_violated_constraint_is_reported_with_its_place(text: str, overrides: tuple[str, ...], place: str) -> None:
    (problem,) = problems(text, *overrides)
    assert problem.startswith(f"{place}: ")


def test_a_bound_of_another_option_may_be_reached() -> None:
    config = parse("", "", read_overrides([*SCST, "decode.min_length=30", "train.samples=25", "train.batch_size=25"]))
    assert config.decode.min_length == config.decode.max_length


REINFORCED = {"train.objective": "self_critical", "train.init_from": Path("/run")}


@pytest.mark.parametrize(
    ("text", "overrides", "metric", "score_every"),
    [
        ("", {}, "loss", None),
        ("", {"validate.score_every": 2}, "loss", 2),
        ("", REINFORCED, "cider_d", 1),
        ("validate: {every: 2}", REINFORCED, "cider_d", 2),
        ("validate: {score_every: 3}", REINFORCED, "cider_d", 3),
        ("validate: {best_metric: loss}", REINFORCED, "loss", None),
        ("data: {captions: teacher.jsonl}", {}, "cider_d", 1),
        ("data: {captions: teacher.jsonl}", {"data.captions": None}, "loss", None),
        ("", {"validate.best_metric": "bleu4"}, "bleu4", 1),
    ],
)
def test_the_metric_of_best_depends_on_what_is_learned(text, overrides, metric: str, score_every: int | None) -> None:
    config = parse(text, "", overrides)
    assert (config.validate.best_metric, score_interval(config)) == (metric, score_every)
    assert parse(dump(config), "") == config, "config.yaml has the effective values"


def test_the_interval_of_scores_follows_the_other_options_of_a_saved_config() -> None:
    saved = dump(parse("", "", REINFORCED))
    assert score_interval(parse(saved, "", {"validate.every": 2})) == 2
    assert score_interval(parse(saved, "", {"validate.best_metric": "loss"})) is None


def test_an_invalid_option_is_the_only_problem() -> None:
    (problem,) = problems("train: {schedule: exponentail, lr_decay: 0.5}")
    assert "did you mean exponential?" in problem
    (problem,) = problems("", "train.update_rule=sgdm", "train.weight_decay=0.5")
    assert "sgd_momentum" in problem


RANKING = {"length_penalty": 0.5, "similarity_weight": 4.0, "guidance_weight": 2.0}


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["decode.method=sampling"], Decode(method="sampling", no_repeat_ngram=2)),
        (["decode.beam_width=1"], Decode(no_repeat_ngram=2)),
        (["decode.beam_width=3"], Decode(beam_width=3, **RANKING, no_repeat_ngram=2)),
        (["decode.beam_width=1", "caption.n_best=3"], Decode(**RANKING, no_repeat_ngram=2)),
    ],
)
def test_an_override_resets_decoding_options_without_effect(overrides: list[str], expected: Decode) -> None:
    text = "decode: {beam_width: 5, length_penalty: 0.5, similarity_weight: 4, guidance_weight: 2, no_repeat_ngram: 2}"
    assert parse(text, "my.yaml", read_overrides(overrides)).decode == expected


@pytest.mark.parametrize(
    ("name", "overrides", "path"),
    [
        ("scenes-transformer", {"train.update_rule": "adam"}, "train.weight_decay"),
        ("coco-lstm", {"train.schedule": "cosine"}, "train.lr_decay"),
        ("photos", REINFORCED, "train.label_smoothing"),
    ],
)
def test_an_override_resets_training_options_without_effect(name: str, overrides: dict[str, Any], path: str) -> None:
    configs = (load(Path(name), values) for values in (NONE, overrides))
    assert [path in differences(config, override(Config())) for config in configs] == [True, False]


def test_the_tables_name_options_and_sections() -> None:
    assert {name for used in USED_BY.values() for name in used} <= OPTIONS.keys() | sections().keys()
    assert OPTIONS.keys() >= NEEDS.keys()


@pytest.mark.parametrize("command", USED_BY)
def test_what_a_command_does_not_use_is_reported(command: str) -> None:
    unused = [path for path in OPTIONS if not is_used(path, command)]
    assert unused
    with pytest.raises(ConfigError) as caught:
        check_used(OPTIONS, command)
    assert [line.split(" ")[0] for line in caught.value.problems] == unused
    check_used([path for path in OPTIONS if path not in unused], command)


def test_other_commands_use_every_option() -> None:
    for command in ("train", "config show"):
        check_used(OPTIONS, command)


def other_value(path: str) -> str:
    """Return a value of an option that is not its default."""
    option, of_kind = OPTIONS[path], {bool: "false", int: "16", float: "0.5", Path: "/x"}
    return next((choice for choice in option.choices if choice != option.default), "") or of_kind[option.kind]


VALUES = {CAPTIONS: ("/x", "null"), BASE: ("/x", "null"), INITIAL: ("null", "/x"), SEVERAL: ("2", "1")}
"""For conditions that are no choice, a value of the first option of their text that fulfils them, and another."""


def values_of(need: Need, holds: bool) -> Sequence[str]:
    """Return the values of the option of a condition for which it holds, or for which it does not."""
    path, *words = need.text.replace(",", "").split()
    return [VALUES[need][not holds]] if need in VALUES else [
        choice for choice in OPTIONS[path].choices if (choice in words) == holds
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "need"), [(path, need) for path, needs in NEEDS.items() for need in needs])
def test_an_option_needs_its_other_options(path: str, need: Need) -> None:
    wanted = {each.text.split()[0]: values_of(each, True)[0] for each in NEEDS[path]}
    for holds in (True, False):
        for value in values_of(need, holds):
            texts = {**wanted, need.text.split()[0]: value, path: other_value(path)}
            if "self_critical" in texts.values():
                texts["train.init_from"] = "/x"
            if texts.get("data.source") in ("cs231n", "prepared"):
                texts["data.root"] = "/x"
            overrides = [f"{each}={text}" for each, text in texts.items()]
            if holds:
                parse("", "", read_overrides(overrides))
                continue
            found = problems("", *overrides)
            assert [line for line in found if f"{path}: has no effect with" in line], found


def test_the_default_value_of_an_option_may_have_no_effect() -> None:
    parse("", "", {"train.weight_decay": 0.0, "model.decoder": "rnn", "model.forget_bias": 1.0, "data.root": None})


def test_an_option_of_a_file_without_effect_has_its_default_and_is_in_ignored() -> None:
    text = "train: {update_rule: adamw, weight_decay: 0.5}"
    config = parse(text, "my.yaml", {"train.update_rule": "adam"})
    assert config.train.weight_decay == Config().train.weight_decay
    reason = "has no effect without train.update_rule adamw (set that, or leave this at 0.0)"
    assert config.ignored == {"train.weight_decay": f"my.yaml:1: ignored: train.weight_decay: {reason}"}
    assert not parse(text, "my.yaml").ignored
    assert not override(config, {"train.update_rule": "adamw", "train.weight_decay": 0.4}).ignored


def test_the_forget_bias_has_an_effect_on_the_cells_with_a_forget_gate() -> None:
    assert LSTM in NEEDS["model.forget_bias"]
    assert [k for k in CELLS if CELLS[k].forget is not None] == ["lstm"]
