"""Detect that a file was changed or replaced, without reading it."""

from __future__ import annotations

import os
from typing import NamedTuple


class FileVersion(NamedTuple):
    """What changes when a file is replaced or written to."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @property
    def changed(self) -> float:
        """The time of the last modification in seconds."""
        return self.mtime_ns / 1e9


def version_of(status: os.stat_result) -> FileVersion:
    """Return the version of a file with this status."""
    return FileVersion(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def file_version(path: str | os.PathLike[str]) -> FileVersion | None:
    """Return the version of a file, or None if it does not exist or its name is invalid."""
    try:
        return version_of(os.stat(path))
    except (OSError, ValueError):
        return None
