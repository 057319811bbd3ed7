"""Lock files; that a second process is refused is tested with `captioner caption`."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from captioner.errors import UsageError
from captioner.files.lock import LockFile


def test_a_lock_whose_file_is_gone_is_released(tmp_path: Path) -> None:
    lock = LockFile(tmp_path / "t.csv", tmp_path / "t.csv", "busy")
    (tmp_path / ".t.csv.lock").unlink()
    lock.release()
    LockFile(tmp_path / "t.csv", tmp_path / "t.csv", "busy").release()


def test_what_is_stored_survives_a_full_disk_and_the_lock_is_held(
    tmp_path: Path, files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    lock = LockFile(tmp_path / "t.csv", tmp_path / "t.csv", "busy")
    lock.store(b"row")
    with files_of_at_most(4), pytest.raises(OSError, match="large"):
        lock.store(b"other")
    with pytest.raises(UsageError, match="busy"):
        LockFile(tmp_path / "t.csv", tmp_path / "t.csv", "busy")
    lock.release(keep=True)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(".t.lock.csv", b"row")]
