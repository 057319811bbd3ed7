"""Atomic replacement: after any failure, the path holds the old or the new file; temporary files are removed."""

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioner.files.atomic import CANNOT_SYNC, remove_temporary_files, replacing, write_atomically, write_file


def test_the_file_is_synced_then_renamed_then_the_folder_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "a", []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        calls.append("fsync folder" if stat.S_ISDIR(status.st_mode) else f"fsync file of {status.st_size}")
        fsync(descriptor)

    def recorded_replace(source: Path, target: Path) -> None:
        assert Path(source).parent == target.parent
        calls.append(f"rename to {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    write_atomically(path, b"abcde")
    assert calls == ["fsync file of 5", "rename to a", "fsync folder"]
    assert path.read_bytes() == b"abcde"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_failure_keeps_only_the_old_file(
    call: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(target: Any, *args: object) -> None:
        if call == "write":
            target.touch()
        raise error

    if call in ("fsync", "replace"):
        monkeypatch.setattr(os, call, fail)
    else:
        monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_is_never_replaced_and_the_new_one_is_beside_it(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a file system without hard links, such as FAT."""
    if not links:
        monkeypatch.setattr(os, "link", refused)
    write_atomically(tmp_path / "a.csv", b"1", lambda: False)
    for number in (2, 3):
        with pytest.raises(FileExistsError, match=rf"is not replaced; the new one is .*/a-{number}\.csv"):
            write_atomically(tmp_path / "a.csv", b"%d" % number, lambda: False)
    with pytest.raises(FileExistsError, match="is not replaced: "):
        write_atomically(tmp_path / "a.csv", b"4", lambda: False, beside=False)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert left == {"a.csv": b"1", "a-2.csv": b"2", "a-3.csv": b"3"}


def refused(source: Path, target: Path) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def test_only_regular_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "null", "folder"):
        before = os.lstat(tmp_path / name)
        with pytest.raises(FileExistsError, match="expected a regular file to replace"):
            write_atomically(tmp_path / name, b"new")
        assert os.path.samestat(os.lstat(tmp_path / name), before)
    assert sorted(os.listdir(tmp_path)) == ["folder", "null", "pipe"]


def fail_to_sync(monkeypatch: pytest.MonkeyPatch, code: int, is_failing: Callable[[int], bool]) -> None:
    """Let syncing of files or folders fail, by their mode."""
    fsync = os.fsync

    def fail(descriptor: int) -> None:
        if is_failing(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)


@pytest.mark.parametrize("code", [errno.EIO, *sorted(CANNOT_SYNC)])
def test_the_new_file_is_in_place_if_only_syncing_the_folder_fails(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that cannot sync folders is no failure."""
    fail_to_sync(monkeypatch, code, stat.S_ISDIR)
    with contextlib.nullcontext() if code in CANNOT_SYNC else pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_file_that_cannot_be_synced_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_sync(monkeypatch, errno.EINVAL, stat.S_ISREG)
    with pytest.raises(OSError, match="Invalid argument"):
        write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "b" * 240])
def test_the_longest_names_are_written_and_their_leftovers_removed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with replacing(path) as temporary:
        temporary.write_bytes(b"abc")
    assert os.listdir(tmp_path) == [name]
    temporary.touch()
    remove_temporary_files(path)
    assert os.listdir(tmp_path) == [name]


def test_sweep_removes_temporary_files_of_ended_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", lambda source, target: None)
    for name in ("last.h5", "config.yaml", "a\nb", "a.7.tmp"):
        write_atomically(tmp_path / name, b"new")
    assert len(os.listdir(tmp_path)) == 4
    remove_temporary_files(*(tmp_path / name for name in ("last.h5", "config.yaml", "a\nb", "a.7.tmp", "best.h5")))
    assert os.listdir(tmp_path) == []


def test_sweep_keeps_temporary_files_where_no_lock_shows_who_uses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may be writing them; a write needs no lock."""
    (tmp_path / ".a.7.tmp").touch()

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_file(tmp_path / "a", b"new")
    assert sorted(os.listdir(tmp_path)) == [".a.7.tmp", "a"]
    assert (tmp_path / "a").read_bytes() == b"new"


def test_processes_that_write_one_file_lose_nothing(tmp_path: Path) -> None:
    """Also in different containers, where they cannot see each other."""
    path = tmp_path / "a.csv"
    with contextlib.suppress(FileExistsError), replacing(path, lambda: False) as one:
        write_atomically(path, b"other", lambda: False)
        one.write_bytes(b"one")
        with replacing(path) as third:
            remove_temporary_files(path)
            assert {one.name, third.name} == set(os.listdir(tmp_path)) - {path.name}
            third.write_bytes(b"third")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a.csv": b"third", "a-2.csv": b"one"}


def test_sweep_keeps_other_files(tmp_path: Path) -> None:
    others = {"last.h5", "last.h5.tmp", ".last.h5.tmp", ".last.h5.old.tmp", ".tmp", ".lastxh5.7.tmp"}
    others |= {".notes.7.tmp", f".last.h5.{10**9}.tmp", "last.h5.7.tmp", ".last.h5.7.tmp~"}
    for name in others:
        (tmp_path / name).touch()
    remove_temporary_files(tmp_path / "last.h5")
    assert set(os.listdir(tmp_path)) == others


def test_the_permissions_of_a_file_that_is_replaced_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    path.chmod(0o640)  # touch(0o640) would depend on the umask
    write_file(path, b"new")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)
