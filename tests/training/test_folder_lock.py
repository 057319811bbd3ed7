"""The lock of a run folder on platforms that lock a file in it, and on file systems without locks."""

import errno
import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from platforms import Msvcrt

from captioner.errors import CaptionerError, UsageError
from captioner.storage import lock
from captioner.training.folder_lock import LOCK, FolderLock
from captioner.training.run_folder import RunFolder

posix = pytest.mark.skipif(lock.fcntl is None, reason="needs POSIX")


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def use_lock_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", lock.msvcrt or Msvcrt())


def test_a_lock_file_is_used_if_folders_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_lock_file(monkeypatch)
    held = FolderLock(tmp_path)
    for _ in range(2):
        with pytest.raises(UsageError, match="another process trains in this folder; wait for it, or"):
            FolderLock(tmp_path)
        assert os.listdir(tmp_path) == [LOCK], "the lock file of the other process is kept"
    del held
    gc.collect()
    assert os.listdir(tmp_path) == []
    FolderLock(tmp_path).release()


def test_the_lock_file_of_a_killed_process_is_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_lock_file(monkeypatch)
    (tmp_path / LOCK).touch()
    RunFolder(tmp_path).create(overwrite=False)


SIMULATIONS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "lock file": use_lock_file,
    "no locks": lambda monkeypatch: monkeypatch.setattr(lock.fcntl, "flock", no_locks),
}


@posix
@pytest.mark.filterwarnings("ignore:.*cannot be locked")
@pytest.mark.parametrize("simulation", SIMULATIONS)
def test_a_replaced_folder_is_detected(simulation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SIMULATIONS[simulation](monkeypatch)
    run = RunFolder(tmp_path / "run")
    run.create(overwrite=False)
    run.write(run.config, "seed: 1\n")
    run.path.rename(tmp_path / "moved")
    run.path.mkdir()
    other = RunFolder(tmp_path / "run")
    other.create(overwrite=False)
    with pytest.raises(CaptionerError, match="cannot write: the run folder was moved or replaced during the training"):
        run.write(run.config, "seed: 2\n")
    assert not other.config.exists()
    other.write(other.config, "seed: 3\n")


@posix
def test_a_folder_that_cannot_be_locked_causes_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", no_locks)
    run = RunFolder(tmp_path / "run")
    with pytest.warns(UserWarning, match="cannot be locked") as caught:
        run.create(overwrite=False)
    assert [str(warning.message) for warning in caught] == [
        f"{run.path}: cannot be locked (No locks available); make sure that no other process writes there"
    ]
