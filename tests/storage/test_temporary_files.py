"""Temporary files of killed processes are removed; those of running ones and other files are kept."""

import os
from pathlib import Path

import pytest

from captioner.storage.atomic import remove_temporary_files, replacing, write_atomically


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "b" * 240])
def test_the_longest_names_are_written_and_their_leftovers_removed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: ENDED)
    path = tmp_path / name
    with replacing(path) as temporary:
        temporary.write_bytes(b"abc")
    assert os.listdir(tmp_path) == [name]
    temporary.touch()
    remove_temporary_files(path)
    assert os.listdir(tmp_path) == [name]


ENDED = 999_999_999
"""A process id above the maximum of every system."""


def test_sweep_removes_temporary_files_of_ended_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda source, target: None)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: ENDED)
        for name in ("last.h5", "config.yaml", "a\nb", "a.7.tmp"):
            write_atomically(tmp_path / name, (b"new",))
    assert len(os.listdir(tmp_path)) == 4
    remove_temporary_files(*(tmp_path / name for name in ("last.h5", "config.yaml", "a\nb", "a.7.tmp", "best.h5")))
    assert os.listdir(tmp_path) == []


def test_sweep_keeps_temporary_files_of_running_processes(tmp_path: Path) -> None:
    for process in (os.getpid(), 1):
        (tmp_path / f".a.{process}.tmp").touch()
    remove_temporary_files(tmp_path / "a")
    assert len(os.listdir(tmp_path)) == 2


def test_sweep_keeps_other_files(tmp_path: Path) -> None:
    others = {"last.h5", "last.h5.tmp", ".last.h5.tmp", ".last.h5.old.tmp", ".tmp", f".lastxh5.{ENDED}.tmp"}
    others |= {f".notes.{ENDED}.tmp", f".last.h5.{ENDED}7.tmp", f"last.h5.{ENDED}.tmp", f".last.h5.{ENDED}.tmp~"}
    for name in others:
        (tmp_path / name).touch()
    remove_temporary_files(tmp_path / "last.h5")
    assert set(os.listdir(tmp_path)) == others


def test_sweep_of_a_missing_folder_does_nothing(tmp_path: Path) -> None:
    remove_temporary_files(tmp_path / "absent" / "a")
