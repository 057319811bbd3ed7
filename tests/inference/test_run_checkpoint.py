"""A run folder resolves to its best checkpoint, or else its last one."""

import os
from pathlib import Path

import pytest

from captioner.errors import CheckpointError
from captioner.inference.find_checkpoint import find_checkpoint, is_run
from captioner.inference.load import open_run


def test_a_run_folder_means_its_best_checkpoint_or_else_the_last(own_run: Path) -> None:
    assert find_checkpoint(own_run) == own_run / "best.h5"
    assert find_checkpoint(own_run / "last.h5") == own_run / "last.h5"
    (own_run / "best.h5").unlink()
    assert find_checkpoint(own_run) == own_run / "last.h5"
    (own_run / "last.h5").unlink()
    with pytest.raises(CheckpointError) as caught:
        find_checkpoint(own_run)
    assert str(caught.value) == (f"{own_run}: no checkpoint found; expected best.h5 or last.h5 from `captioner train`")


def test_is_run(own_run: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.png").write_bytes(b"x")
    renamed = (own_run / "last.h5").rename(tmp_path / "model")
    os.mkfifo(tmp_path / "pipe.h5")
    runs = [own_run, own_run / "best.h5", renamed]
    others = [
        tmp_path / "photos",
        tmp_path / "photo.png",
        tmp_path / "pipe.h5",
        tmp_path / "nope",
        Path("-"),
        Path("\0"),
    ]
    assert [is_run(path) for path in (*runs, *others)] == [True] * 3 + [False] * 6
    (own_run / "best.h5").unlink()
    assert not is_run(own_run), "a run without a checkpoint cannot caption"


def test_a_run_folder_loads_its_best_checkpoint(tiny_run: Path) -> None:
    assert open_run(tiny_run).path == tiny_run / "best.h5"
    assert open_run(tiny_run / "last.h5").path == tiny_run / "last.h5"
