"""Trials with killed commands: repeated, they complete and leave no temporary file."""

from pathlib import Path

import pytest

from faults import signals
from faults.signals import Inputs, files_of_completed, kill_and_repeat, make_inputs


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.mark.parametrize(
    ("name", "use"), [("prepare", 7), ("prepare --features", 5)], ids=["before features are removed", "before renaming"]
)
def test_a_killed_command_is_files_of_completed(name: str, use: int, inputs: Inputs, tmp_path: Path) -> None:
    expected = files_of_completed(name, tmp_path / "expected", inputs)
    assert list(expected) == ["out.h5"]
    outcome = kill_and_repeat(name, use, tmp_path / "killed", inputs, expected)
    assert outcome.kind == "completed", outcome


def test_a_file_that_is_left_is_detected(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = {"out.h5": b"another data set"}
    outcome = kill_and_repeat("prepare --features", 1, tmp_path / "killed", inputs, expected)
    assert (outcome.kind, "differs: ['out.h5']" in outcome.note) == ("wrong", True)
    monkeypatch.setattr(signals, "KILLED", "import sys; sys.exit(1)")
    assert kill_and_repeat("prepare", 1, tmp_path / "ended", inputs, expected).kind == "wrong"
