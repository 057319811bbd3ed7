"""Scalars are read by the core schema of YAML 1.2."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.config.option_table import OPTIONS, Option
from captioner.config.values import MAX_SHOWN, Scalar, closest, read, write
from captioner.errors import JOINERS, printable

INT, FLOAT, BOOL = OPTIONS["train.max_steps"], OPTIONS["train.clip_norm"], OPTIONS["decode.suppress_unk"]
SEED, DECAY, NAME, PATH, CHOICE = (
    OPTIONS[path] for path in ("seed", "train.weight_decay", "validate.split", "data.root", "model.decoder")
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


REJECTED: list[tuple[Option, str, list[str]]] = [
    (SEED, "", ["-1", "", "true", "-1e3", "1.5"]),
    (SEED, " (write 17)", ["017"]),
    (SEED, " (write 0)", ["00"]),
    (SEED, " (write it in decimal digits)", ["0x1F", "1:30", "1_000", "٣"]),
    (SEED, " (write 12)", ["12.0"]),
    (SEED, " (write 1000)", ["1e3"]),
    (SEED, " (too large)", ["9223372036854775808", "1" + "0" * 5000]),
    (INT, "", ["0", "00", "none"]),
    (FLOAT, " (must be finite)", [".inf", "-.NaN", "nan"]),
    (FLOAT, " (too large)", ["1e400"]),
    (FLOAT, " (write it in decimal digits)", ["01.5", "2026-11-25"]),
    (FLOAT, "", ["false"]),
    (BOOL, " (write true)", ["yes"]),
    (BOOL, " (write false)", ["Off", "0"]),
    (BOOL, " (write true or false)", ["tRUE"]),
    (CHOICE, " (did you mean lstm?)", ["lsmt"]),
    (CHOICE, "", ["mamba", "null"]),
    (NAME, "", [""]),
    (PATH, " (contains a control character)", ["a\0b", "a\nb", "\udcff"]),
]


@pytest.mark.parametrize(("option", "hint", "texts"), REJECTED)
def test_rejects(option: Option, hint: str, texts: list[str]) -> None:
    for text in texts:
        shown = printable(text or "null", MAX_SHOWN)
        assert read(option, Scalar(text)) == (None, f"expected {option.expected()}, got {shown}{hint}")


def test_quotes_make_a_name() -> None:
    assert read(NAME, Scalar("null", plain=False)) == ("null", None)
    for option, text, hint in (
        (SEED, "3", " (without quotes)"),
        (BOOL, "true", " (without quotes)"),
        (FLOAT, "null", ""),
        (NAME, "", ""),
    ):
        assert read(option, Scalar(text, plain=False)) == (None, f"expected {option.expected()}, got '{text}'{hint}")


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


OPTION_NAMES = {
    "model.hiden_dim": "model.hidden_dim",
    "hidden_dim": "model.hidden_dim",
    "model.learning_rate": "train.learning_rate",
    "sede": "seed",
    "scenes.seed": "data.scenes.seed",
    "train.batchsize": "train.batch_size",
    "decode.max_len": "decode.max_length",
}
CHOICES = {"selfcritical": "self_critical", "crossentropy": "cross_entropy", "beams": "beam", "float": "float32"}


def test_suggests_the_name_that_is_similar() -> None:
    for name, target in OPTION_NAMES.items():
        assert closest(name, OPTIONS) == f" (did you mean {target}?)"
    for name, target in CHOICES.items():
        (choices,) = {option.choices for option in OPTIONS.values() if target in option.choices}
        assert closest(name, choices) == f" (did you mean {target}?)"
    assert closest("train.zzz", OPTIONS) == ""
