"""Scalars are read by the core schema of YAML 1.2."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.config.schema import Option, options
from captioner.config.values import MAX_SHOWN, SYNONYMS, Scalar, closest, read, write
from captioner.config.yaml_io import OPTIONS
from captioner.errors import JOINERS

TABLE = {option.path: option for option in options()}
INT, FLOAT, BOOL = TABLE["train.max_steps"], TABLE["train.clip_norm"], TABLE["decode.suppress_unk"]
SEED, DECAY, NAME, PATH, CHOICE = (
    TABLE[path] for path in ("seed", "train.weight_decay", "validate.split", "data.root", "model.cell")
)


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        (SEED, "0", 0),
        (SEED, "-0", 0),
        (SEED, "+12", 12),
        (SEED, "9223372036854775807", 2**63 - 1),
        (FLOAT, "1e-3", 1e-3),
        (FLOAT, "1e3", 1e3),
        (FLOAT, "1.E+3", 1e3),
        (FLOAT, ".5", 0.5),
        (FLOAT, "5", 5.0),
        (BOOL, "True", True),
        (BOOL, "false", False),
        *((INT, null, None) for null in ("", "~", "null", "Null", "NULL")),
        (PATH, "null", None),
        *((NAME, word, word) for word in ("no", "on", "1", "1e3", "017", "true", "2026-11-25", "a b", "été")),
        (CHOICE, "lstm", "lstm"),
    ],
)
def test_reads(option: Option, text: str, value: Any) -> None:
    read_value, problem = read(option, Scalar(text))
    assert problem is None
    assert read_value == value
    assert type(read_value) is type(value)


@pytest.mark.parametrize(
    ("option", "text", "problem"),
    [
        (SEED, "-1", "expected an integer >= 0, got -1"),
        (SEED, "", "expected an integer >= 0, got null"),
        (SEED, "true", "expected an integer >= 0, got true"),
        (SEED, "017", "expected an integer >= 0, got 017 (write 17)"),
        (SEED, "00", "expected an integer >= 0, got 00 (write 0)"),
        (SEED, "0x1F", "expected an integer >= 0, got 0x1F (write it in decimal digits)"),
        (SEED, "1:30", "expected an integer >= 0, got 1:30 (write it in decimal digits)"),
        (SEED, "1_000", "expected an integer >= 0, got 1_000 (write it in decimal digits)"),
        (SEED, "٣", "expected an integer >= 0, got ٣ (write it in decimal digits)"),
        (SEED, "12.0", "expected an integer >= 0, got 12.0 (write 12)"),
        (SEED, "1e3", "expected an integer >= 0, got 1e3 (write 1000)"),
        (SEED, "-1e3", "expected an integer >= 0, got -1e3"),
        (SEED, "1.5", "expected an integer >= 0, got 1.5"),
        (SEED, "9223372036854775808", "expected an integer >= 0, got 9223372036854775808 (too large)"),
        (SEED, "1" + "0" * 5000, f"expected an integer >= 0, got 1{'0' * 37}...{'0' * 19} (too large)"),
        (INT, "0", "expected an integer >= 1 or null, got 0"),
        (INT, "none", "expected an integer >= 1 or null, got none"),
        (FLOAT, ".inf", "expected a number > 0 or null, got .inf (must be finite)"),
        (FLOAT, "-.NaN", "expected a number > 0 or null, got -.NaN (must be finite)"),
        (FLOAT, "nan", "expected a number > 0 or null, got nan (must be finite)"),
        (FLOAT, "1e400", "expected a number > 0 or null, got 1e400 (too large)"),
        (FLOAT, "01.5", "expected a number > 0 or null, got 01.5 (write it in decimal digits)"),
        (FLOAT, "false", "expected a number > 0 or null, got false"),
        (FLOAT, "2026-11-25", "expected a number > 0 or null, got 2026-11-25 (write it in decimal digits)"),
        (BOOL, "yes", "expected true or false, got yes (write true)"),
        (BOOL, "Off", "expected true or false, got Off (write false)"),
        (BOOL, "0", "expected true or false, got 0 (write false)"),
        (BOOL, "tRUE", "expected true or false, got tRUE (write true or false)"),
        (CHOICE, "lsmt", "expected rnn, lstm or gru, got lsmt (did you mean lstm?)"),
        (CHOICE, "transformer", "expected rnn, lstm or gru, got transformer"),
        (CHOICE, "null", "expected rnn, lstm or gru, got null"),
        (NAME, "", "expected a name, got null"),
        (PATH, "a\0b", "expected a path or null, got a\\x00b (contains a control character)"),
        (PATH, "a\nb", "expected a path or null, got a\\nb (contains a control character)"),
        (PATH, "\udcff", "expected a path or null, got \\udcff (contains a control character)"),
    ],
)
def test_rejects(option: Option, text: str, problem: str) -> None:
    assert read(option, Scalar(text)) == (None, problem)


@pytest.mark.parametrize(
    ("option", "text", "problem"),
    [
        (SEED, "3", "expected an integer >= 0, got '3' (without quotes)"),
        (FLOAT, "null", "expected a number > 0 or null, got 'null'"),
        (BOOL, "true", "expected true or false, got 'true' (without quotes)"),
        (NAME, "", "expected a name, got ''"),
    ],
)
def test_rejects_in_quotes(option: Option, text: str, problem: str) -> None:
    assert read(option, Scalar(text, plain=False)) == (None, problem)


def test_a_quoted_name_may_be_null() -> None:
    assert read(NAME, Scalar("null", plain=False)) == ("null", None)


def test_relative_home_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    real = tmp_path.resolve()
    for text, folder, path in (
        ("a/b", None, real / "a/b"),
        ("a", tmp_path / "c", real / "c/a"),
        ("../a", tmp_path / "c", real / "a"),
        ("a", Path("c"), real / "c/a"),
        ("/a/../b", tmp_path, Path("/a/../b")),
        ("~/a", tmp_path, tmp_path / "home/a"),
    ):
        assert read(PATH, Scalar(text, folder=folder)) == (path, None)


def test_a_relative_path_in_a_folder_that_is_not_utf_8_or_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(PATH, Scalar("a", folder=tmp_path / "caf\udce9"))[1] == "expected a path or null, got a"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert read(PATH, Scalar("a"))[1] == "expected a path or null, got a"


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_floats_are_read_back_and_have_a_point_for_yaml_1_1(value: float) -> None:
    text = write(DECAY, value)
    assert read(DECAY, Scalar(text)) == (value, None)
    assert "." in text


@given(st.text())
def test_a_value_is_shown_in_one_short_line(text: str) -> None:
    for scalar in (Scalar(text), Scalar(text, plain=False)):
        assert str(scalar).translate(dict.fromkeys(map(ord, JOINERS))).isprintable()
        assert len(str(scalar)) <= MAX_SHOWN


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("model.hiden_dim", "model.hidden_dim"),
        ("hidden_dim", "model.hidden_dim"),
        ("model.learning_rate", "train.learning_rate"),
        ("sede", "seed"),
        ("scenes.seed", "data.scenes.seed"),
        ("train.batchsize", "train.batch_size"),
        ("decode.max_len", "decode.max_length"),
    ],
)
def test_suggests_a_similar_name(path: str, meant: str) -> None:
    assert closest(path, TABLE) == f" (did you mean {meant}?)"


def test_suggests_nothing_if_no_name_is_similar() -> None:
    assert closest("train.zzz", TABLE) == ""


CHOICES = {choice for option in OPTIONS.values() for choice in option.choices}
NAMES = {path.rpartition(".")[2] for path in OPTIONS}


def test_every_target_exists() -> None:
    assert set(SYNONYMS.values()) <= OPTIONS.keys() | CHOICES


def test_a_synonym_of_an_option_is_not_the_name_of_another() -> None:
    assert not {name for name, target in SYNONYMS.items() if target in OPTIONS} & NAMES


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("lr", "train.learning_rate"),
        ("optimizer", "train.update_rule"),
        ("num_beams", "decode.beam_width"),
        ("beam", "decode.beam_width"),
        ("no_repeat_ngram_size", "decode.no_repeat_ngram"),
        ("ema", "train.ema_decay"),
        ("length_power", "decode.length_penalty"),
        ("hidden_size", "model.hidden_dim"),
        ("embedding-dim", "model.wordvec_dim"),
        ("Dropout", "model.dropout_hidden"),
        ("max_grad_norm", "train.clip_norm"),
        ("num_epochs", "train.epochs"),
        ("bs", "train.batch_size"),
        ("start", "train.init_from"),
        ("suppress", "decode.suppress_words"),
    ],
)
def test_options(name: str, target: str) -> None:
    assert closest(name, OPTIONS) == closest(f"train.{name}", OPTIONS) == f" (did you mean {target}?)"


@pytest.mark.parametrize(
    ("name", "option", "target"),
    [
        ("scst", "train.objective", "self_critical"),
        ("likelihood", "train.objective", "cross_entropy"),
        ("greedy", "decode.method", "beam"),
        ("fp32", "model.dtype", "float32"),
    ],
)
def test_choices(name: str, option: str, target: str) -> None:
    assert closest(name, OPTIONS[option].choices) == f" (did you mean {target}?)"
