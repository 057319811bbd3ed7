"""Killed trainings with pairs of features: planted faults are detected."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from faults import repeated, signals


class Early(np.random.Generator):
    """Kills every command before an early use of a file: after the history of the new run is written."""

    def integers(self, *_: object) -> int:  # type: ignore[override]
        return 22


@pytest.fixture(autouse=True)
def one_killed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated, "RUNS", 1)


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> repeated.Starts:
    return repeated.Starts(tmp_path_factory.mktemp("starts"))


def test_every_pair_has_commands(starts: repeated.Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "student", lambda: tmp_path / "student")
    assert len(repeated.PAIRS) == 10
    for pair in repeated.PAIRS:
        words = [str(word) for word in repeated.commands(pair, tmp_path / "run", starts)[0]]
        assert (words[0] == "distill") == ("distillation" in pair and "SCST" not in pair)
        assert ("--mpi" in words) == ("mpi" in pair)


@pytest.mark.slow
@pytest.mark.parametrize("pair", [("distillation", "mpi"), ("SCST", "EMA")], ids=" and ".join)
def test_a_killed_training_ends_bit_identical_when_repeated(
    pair: tuple[str, str], starts: repeated.Starts, tmp_path: Path
) -> None:
    outcomes = repeated.kill_and_repeat(pair, tmp_path, starts, np.random.default_rng(3))
    assert [outcome.kind for outcome in outcomes] == ["bit-identical"], outcomes


@pytest.mark.slow
def test_a_command_that_cannot_be_repeated_is_detected(
    starts: repeated.Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the folder of a run without a checkpoint is refused."""
    pair = "EMA", "distillation"
    planted = "from captioner.training.run_folder import RunFolder\nRunFolder.saved_config = lambda self: None\n"
    monkeypatch.setattr(repeated, "KILLED", signals.KILLED.replace("sys.addaudithook", f"{planted}sys.addaudithook"))
    (outcome,) = repeated.kill_and_repeat(pair, tmp_path, starts, Early(np.random.PCG64(0)))
    assert outcome.kind == "wrong"
    assert "exit code 2: " in outcome.note
    assert "it has no last.h5 to resume from" in outcome.note


def test_differences_of_files_are_detected(tiny_run: Path, own_run: Path) -> None:
    assert repeated.folder_difference(own_run, tiny_run) == ""
    (own_run / ".last.h5.7.tmp").touch()
    assert repeated.folder_difference(own_run, tiny_run) == "files: ['.last.h5.7.tmp']"
    (own_run / ".last.h5.7.tmp").unlink()
    whole = Path(shutil.copytree(own_run, own_run.parent / "whole"))
    for name, content, problem in (("captions.h5", "b", "captions.h5 differs"),):
        (whole / name).write_text("a")
        (own_run / name).write_text(content)
        assert repeated.folder_difference(own_run, whole) == problem
