"""A missing run is answered with the names of existing ones."""

from pathlib import Path

import pytest

from captioner.errors import CheckpointError
from captioner.inference.find_checkpoint import MAX_NAMED, find_checkpoint, nearest_runs


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the runs `birds` and `scenes` in `runs`, and a folder without a checkpoint."""
    monkeypatch.chdir(tmp_path)
    for run in ("birds", "scenes"):
        Path("runs", run).mkdir(parents=True)
        Path("runs", run, "last.h5").touch()
    Path("runs", "empty").mkdir()


@pytest.mark.parametrize("name", ["runs/bird", "runs/Birds", "birds", "runs/birds-2"])
def test_a_similar_run_is_suggested(name: str) -> None:
    assert nearest_runs(Path(name)) == "; did you mean runs/birds?"


@pytest.mark.parametrize("name", ["runs/nothing", "runs", "runs/empty", "elsewhere/nothing", "nothing"])
def test_existing_runs_are_listed(name: str) -> None:
    assert sorted(nearest_runs(Path(name)).removeprefix("; existing runs: ").split(", ")) == [
        "runs/birds",
        "runs/scenes",
    ]


def test_at_most_five_are_named() -> None:
    for number in range(20):
        Path("runs", f"n{number}").mkdir()
        Path("runs", f"n{number}", "best.h5").touch()
    assert nearest_runs(Path("runs/qq")).count("runs/") == MAX_NAMED == 5


def test_without_runs_nothing_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "runs" / "empty")
    assert nearest_runs(Path("nothing")) == ""
    assert nearest_runs(Path("a\0b/c")) == ""


def test_the_error_ends_with_them() -> None:
    with pytest.raises(CheckpointError, match=r"a checkpoint from `captioner train`; did you mean runs/scenes\?$"):
        find_checkpoint(Path("runs/scene"))
