"""Versions of files: they change when a file is written to or replaced."""

import os
from pathlib import Path

from captioner.storage.file_version import file_version, version_of


def test_a_version_changes_with_the_file(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    for path in (file, other):
        path.write_text("text")
        os.utime(path, ns=(10**18, 10**18))
    first = file_version(file)
    assert first is not None
    assert first == file_version(file) == version_of(os.stat(file))
    assert first.changed == 1e9
    os.utime(file, ns=(10**18, 10**18 + 1))
    assert file_version(file) != first
    os.utime(file, ns=(10**18, 10**18))
    assert file_version(file) == first
    os.replace(other, file)  # of the same size and time
    assert file_version(file) != first


def test_a_missing_file_has_no_version(tmp_path: Path) -> None:
    assert file_version(tmp_path / "none") is None
    assert file_version("a\0b") is None
