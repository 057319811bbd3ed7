"""Runs and checkpoints are found by path; a missing one is answered with existing ones."""

from pathlib import Path

import pytest

from captioner.captioning.find_checkpoint import (
    MAX_NAMED,
    find_checkpoint,
    is_run,
    nearest_runs,
)
from captioner.errors import CheckpointError


def test_a_run_folder_means_its_best_checkpoint_or_else_the_last(own_run: Path) -> None:
    assert find_checkpoint(own_run) == own_run / "best.h5"
    assert find_checkpoint(own_run / "last.h5") == own_run / "last.h5"
    (own_run / "best.h5").unlink()
    assert find_checkpoint(own_run) == own_run / "last.h5"
    (own_run / "last.h5").unlink()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(own_run)
    assert str(caught.value) == (f"{own_run}: no checkpoint found; expected best.h5 or last.h5 from `captioner train`")


def test_a_run_is_known_by_its_name(own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (own_run / "last.h5").rename(tmp_path / "model")
    others = [tmp_path / "photos", tmp_path / "model", tmp_path / "photo.png", Path("-"), Path("\0")]
    assert all(map(is_run, (own_run, own_run / "best.h5", Path("birds.h5"))))
    assert not any(map(is_run, others))
    (own_run / "best.h5").unlink()
    assert not is_run(own_run), "a run without a checkpoint cannot caption"


@pytest.fixture
def runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder has the runs `birds` and `scenes` in `runs`, and a folder without a checkpoint."""
    monkeypatch.chdir(tmp_path)
    for run in ("birds", "scenes"):
        Path("runs", run).mkdir(parents=True)
        Path("runs", run, "last.h5").touch()
    Path("runs", "empty").mkdir()


@pytest.mark.usefixtures("runs_here")
@pytest.mark.parametrize("name", ["runs/bird", "runs/Birds", "birds", "runs/birds-2"])
def test_a_similar_run_is_suggested(name: str) -> None:
    assert nearest_runs(Path(name)) == "; did you mean runs/birds?"


@pytest.mark.usefixtures("runs_here")
@pytest.mark.parametrize("name", ["runs/nothing", "runs", "runs/empty", "elsewhere/nothing", "nothing"])
def test_existing_runs_are_listed(name: str) -> None:
    names = nearest_runs(Path(name)).removeprefix("; existing runs: ").split(", ")
    assert sorted(names) == ["runs/birds", "runs/scenes"]


@pytest.mark.usefixtures("runs_here")
def test_at_most_five_are_named() -> None:
    for number in range(20):
        Path("runs", f"n{number}").mkdir()
        Path("runs", f"n{number}", "best.h5").touch()
    assert nearest_runs(Path("runs/qq")).count("runs/") == MAX_NAMED == 5


@pytest.mark.usefixtures("runs_here")
def test_without_runs_nothing_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "runs" / "empty")
    assert nearest_runs(Path("nothing")) == ""
    assert nearest_runs(Path("a\0b/c")) == ""
