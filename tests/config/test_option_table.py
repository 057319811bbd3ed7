"""The table of options is complete; a value is read by the type of its option, and written as it is read back."""

from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from captioner.config.checks import CONSTRAINTS
from captioner.config.option_table import (
    MAX_SHOWN,
    NOUNS,
    OPTIONS,
    Option,
    closest,
    options,
    read,
    replaced,
    sections,
)
from captioner.config.options import Config, Prepare
from captioner.metrics import NAMES


@pytest.mark.parametrize("option", [*options(), *options(Prepare)], ids=lambda option: option.path)
def test_every_option_is_complete_and_its_bounds_choices_and_null_are_checked(option: Option) -> None:
    section = Config() if OPTIONS.get(option.path) == option else Prepare()
    assert attrgetter(option.path)(section) == option.default
    assert option.admits(option.default)
    assert option.kind in NOUNS
    kind = tuple if option.multiple else option.kind
    assert type(option.default) is (type(None) if option.default is None else kind)
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
        ("model.dtype", "float32 or float64"),
        ("train.update_rule", "sgd, sgd_momentum, rmsprop, adam or adamw"),
        ("model.hidden_dim", "an integer >= 1"),
        ("train.learning_rate", "a number > 0"),
        ("train.label_smoothing", "a number >= 0 and < 1"),
        ("train.clip_norm", "a number > 0 or null"),
        ("data.root", "a path or null"),
        ("validate.best_metric", f"{', '.join(['loss', *NAMES])} or null"),
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


def test_build_sets_values_and_keeps_the_other_defaults() -> None:
    values = {"seed": 3, "data.scenes.train": 5, "model.decoder": "rnn", "data.root": Path("/x")}
    config = replaced(Config(), values)
    for path, option in OPTIONS.items():
        assert attrgetter(path)(config) == values.get(path, option.default)
    assert replaced(Config(), {}) == Config()


def test_constraints_name_options_and_hold_for_the_defaults() -> None:
    for constraint in CONSTRAINTS:
        assert {constraint.option, *constraint.others} <= OPTIONS.keys()
        assert constraint.others[0] in constraint.problem(Config())
        assert constraint.holds(Config())


# --- values as text

SEED, INT, FLOAT, BOOL = (
    OPTIONS[path] for path in ("seed", "train.patience", "train.learning_rate", "data.standardize")
)
CHOICE, NAME, PATH = (OPTIONS[path] for path in ("model.decoder", "validate.split", "data.root"))


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (SEED, "0", 0),
        (SEED, "+12", 12),
        (SEED, "9223372036854775807", 2**63 - 1),
        (INT, "null", None),
        (INT, "~", None),
        (FLOAT, "1e-3", 0.001),
        (FLOAT, ".5", 0.5),
        (FLOAT, "3", 3.0),
        (BOOL, "true", True),
        (BOOL, "False", False),
        (NAME, "no", "no"),
        (NAME, "1.0", "1.0"),
        (NAME, "a\xa0b\u200dc", "a\xa0b\u200dc"),
        (CHOICE, "lstm", "lstm"),
    ],
)
def test_reads(option: Option, text: str, value: Any) -> None:
    assert read(option, text) == value
    assert type(read(option, text)) is type(value)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *((SEED, text) for text in ("-1", "", "true", "1.5", "0x1F", "017", "1:30", "1_000", "٣")),
        *((SEED, text) for text in ("9223372036854775808", "9" * 5000)),
        *((INT, text) for text in ("0", "none")),
        *((FLOAT, text) for text in (".inf", "-.NaN", "nan", "1e400", "false", "2026-11-25")),
        *((BOOL, text) for text in ("yes", "0", "tRUE")),
        *((CHOICE, text) for text in ("mamba", "null")),
        (NAME, ""),
        *((PATH, text) for text in ("a\0b", "a\nb", "\udcff", "a\u202eb")),
    ],
)
def test_rejects(option: Option, text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as caught:
        read(option, text)
    problem = str(caught.value)
    assert problem.startswith(f"expected {option.expected()}, got ")
    assert problem.isprintable()
    assert len(problem) < 100 + MAX_SHOWN


def test_quotes_make_a_name() -> None:
    assert read(NAME, "null", is_quoted=True) == "null"
    for option, text in ((SEED, "3"), (BOOL, "true"), (FLOAT, "null"), (NAME, "")):
        with pytest.raises(ValueError, match=f"got '{text}'"):
            read(option, text, is_quoted=True)


def test_relative_home_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    real = tmp_path.resolve()
    for text, folder, path in (
        ("a/b", None, real / "a/b"),
        ("../a", tmp_path / "c", real / "a"),
        ("a", Path("c"), real / "c/a"),
        ("~/a", tmp_path, tmp_path / "home/a"),
    ):
        assert read(PATH, text, folder) == path


def test_a_relative_path_in_a_folder_that_is_not_utf_8_or_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="expected a path or null, got a"):
        read(PATH, "a", tmp_path / "caf\udce9")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ValueError, match="expected a path or null, got a"):
        read(PATH, "a")


def test_suggests_the_name_that_is_similar() -> None:
    for name, target in {
        "model.hiden_dim": "model.hidden_dim",
        "hidden_dim": "model.hidden_dim",
        "model.learning_rate": "train.learning_rate",
        "sede": "seed",
        "scenes.seed": "data.scenes.seed",
        "train.batchsize": "train.batch_size",
        "decode.max_len": "decode.max_length",
    }.items():
        assert closest(name, OPTIONS) == f" (did you mean {target}?)"
    assert closest("train.zzz", OPTIONS) == ""
