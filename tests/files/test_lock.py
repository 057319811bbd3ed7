"""Lock files; that a second process is refused is tested with `captioner caption`."""

from pathlib import Path

from captioner.files.lock import LockFile


def test_a_lock_whose_file_is_gone_is_released(tmp_path: Path) -> None:
    lock = LockFile(tmp_path / "t.csv", tmp_path / "t.csv", "busy")
    (tmp_path / ".t.lock.csv").unlink()
    lock.release()
    LockFile(tmp_path / "t.csv", tmp_path / "t.csv", "busy").release()
