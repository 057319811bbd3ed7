"""Locks with flock, with the locks of Windows, and without either."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from platforms import Msvcrt

from captioner.storage import lock as module
from captioner.storage.lock import POSITION, UNSUPPORTED, lock

posix = pytest.mark.skipif(module.fcntl is None, reason="needs POSIX")


@pytest.fixture(params=["fcntl", "msvcrt"])
def _platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "msvcrt":
        monkeypatch.setattr(module, "fcntl", None)
        monkeypatch.setattr(module, "msvcrt", module.msvcrt or Msvcrt())
    elif module.fcntl is None:
        pytest.skip("needs POSIX")


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[int]]:
    """Two descriptors of one file."""
    opened = [os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield opened
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.usefixtures("_platform")
def test_a_locked_file_cannot_be_locked_again_until_it_is_closed(files: list[int]) -> None:
    first, second = files
    lock(first, "a")
    with pytest.raises(BlockingIOError):
        lock(second, "a")
    files[0] = os.open(os.devnull, os.O_RDONLY)
    os.close(first)
    lock(second, "a")


@posix
def test_windows_locks_one_byte_beyond_the_content(files: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fcntl", None)
    monkeypatch.setattr(module, "msvcrt", Msvcrt())
    os.write(files[0], b"content")
    lock(files[0], "a")
    assert module.msvcrt.calls == [(POSITION, 1)]
    assert os.lseek(files[0], 0, os.SEEK_CUR) == len(b"content"), "the position is restored"
    assert os.fstat(files[0]).st_size == len(b"content")


@posix
@pytest.mark.parametrize("code", sorted(UNSUPPORTED))
def test_a_file_system_without_locks_causes_a_warning(
    code: int, files: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.fcntl, "flock", fails)
    with pytest.warns(UserWarning, match="cannot be locked") as caught:
        lock(files[0], "runs/a")
    expected = f"runs/a: cannot be locked ({os.strerror(code)}); make sure that no other process writes there"
    assert [str(warning.message) for warning in caught] == [expected]


def test_a_platform_without_locks_causes_a_warning(files: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fcntl", None)
    monkeypatch.setattr(module, "msvcrt", None)
    with pytest.warns(UserWarning, match=r"^runs/a: cannot be locked \(this platform has no file locks\); make sure"):
        lock(files[0], Path("runs/a"))


@posix
def test_other_errors_are_raised(files: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(module.fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output error"):
        lock(files[0], "a")
