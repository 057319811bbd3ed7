"""Locks with flock, and file systems without them."""

import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from captioner.files.lock import UNSUPPORTED, lock


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[int]]:
    """Two descriptors of one file."""
    opened = [os.open(tmp_path / "a", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield opened
    for descriptor in opened:
        os.close(descriptor)


def test_a_locked_file_cannot_be_locked_again_until_it_is_closed(files: list[int]) -> None:
    first, second = files
    lock(first, "a")
    with pytest.raises(BlockingIOError):
        lock(second, "a")
    files[0] = os.open(os.devnull, os.O_RDONLY)
    os.close(first)
    lock(second, "a")


@pytest.mark.parametrize("code", sorted(UNSUPPORTED))
def test_a_file_system_without_locks_causes_a_warning(
    code: int, files: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.warns(UserWarning, match="cannot be locked") as caught:
        lock(files[0], "runs/a")
    expected = f"runs/a: cannot be locked ({os.strerror(code)}); make sure that no other process writes there"
    assert [str(warning.message) for warning in caught] == [expected]


def test_other_errors_are_raised(files: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output error"):
        lock(files[0], "a")
