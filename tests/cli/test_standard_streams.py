"""Closed pipes, encodings of a terminal and missing streams do not change what a command does."""

import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_closed_pipe_does_not_stop_training(shell: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    """After `captioner train 2>&1 | head -1`, exit code 0 still means a finished run."""
    read, write = os.pipe()
    os.close(read)
    done = shell("train", *small_options, "--run", "new", "-o", "train.epochs=1", stdout=write, stderr=write)
    os.close(write)
    assert done.returncode == 0
    assert json.loads(Path("new/summary.json").read_text())["ended"] == "done"


def test_without_stdout(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cli("config", "show") == (0, "", "")


@pytest.fixture
def encoded_cli(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run a command with the encoding of a terminal; return what the terminal shows."""

    def run(encoding: str, *args: object) -> str:
        out = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
            assert cli(*args).code == 0
            sys.stdout.flush()
            return out.getvalue().decode(encoding)

    return run


def test_characters_that_the_terminal_lacks_are_escaped(encoded_cli: Callable[..., str], coco_run: Path) -> None:
    assert "\t  a café 猫\n" in encoded_cli("utf-8", "sample", coco_run)
    for encoding in ("ascii", "cyrillic"):
        assert "\t  a caf\\xe9 \\u732b\n" in encoded_cli(encoding, "sample", coco_run)


def test_json_is_independent_of_the_encoding(encoded_cli: Callable[..., str], coco_run: Path) -> None:
    for encoding in ("utf-8", "ascii", "cyrillic", "latin-1"):
        line, *_ = encoded_cli(encoding, "sample", coco_run, "--json").splitlines()
        assert json.loads(line)["references"][0] == "a café 猫"


def test_piped_output_has_no_control_sequences(shell: Callable[..., Any], small_options: tuple[str, ...]) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    done = shell("train", *small_options, "--run", "new", "-o", "train.epochs=1", env=environment)
    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(r"[\x20-\x7e\n]+", done.stderr)
    assert len(done.stderr.splitlines()) == 4
