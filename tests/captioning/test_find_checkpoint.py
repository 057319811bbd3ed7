"""Runs and checkpoints are found by path; a missing one is answered with existing ones."""

from pathlib import Path

import pytest

from captioner.captioning.find_checkpoint import is_run, nearest_runs


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
@pytest.mark.parametrize("name", ["runs/bird", "runs/Birds", "birds"])
def test_a_similar_run_is_suggested(name: str) -> None:
    assert nearest_runs(Path(name)) == "; did you mean runs/birds?"
    assert nearest_runs(Path("everyda")) == "; did you mean everyday?"


@pytest.mark.usefixtures("runs_here")
def test_each_run_is_named_once() -> None:
    assert nearest_runs(Path("runs/nope").absolute()) == "; existing runs: runs/scenes, runs/birds"
