"""Detect that a file was changed or replaced, without reading it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Signature(NamedTuple):
    """The identity of a version of a file; `changed` is its time of modification in seconds."""

    inode: int
    size: int
    changed: float


def signature(path: Path) -> Signature | None:
    """Return the signature of a file, or None if it does not exist."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return Signature(status.st_ino, status.st_size, status.st_mtime)
