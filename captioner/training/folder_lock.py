"""An exclusive lock on a run folder, which also detects that the folder was moved or replaced."""

from __future__ import annotations

import fcntl
import os
import shlex
import weakref
from pathlib import Path

from captioner.errors import CaptionerError, UsageError
from captioner.inference.find_checkpoint import LAST


class FolderLock:
    """A lock held until this object is deleted or its process ends.

    Raises: UsageError when another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        self.release = weakref.finalize(self, os.close, self._descriptor)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise UsageError(
                f"{path}: another process trains in this folder; wait for it, or choose another folder with --run"
            ) from None

    def check_not_moved(self, file: Path) -> None:
        """Raises: CaptionerError that names `file` when the path no longer leads to the locked folder."""
        try:
            now: os.stat_result | None = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            now = None
        if now is None or not os.path.samestat(now, os.fstat(self._descriptor)):
            raise CaptionerError(f"{file}: cannot write: {_moved_message(self._descriptor)}")


def _moved_message(descriptor: int) -> str:
    """Say where the folder is now, and what to try."""
    moved = "the run folder was moved or replaced during the training"
    try:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
    except OSError:  # not on Linux
        return f"{moved}; its files are where it was moved to: resume from there, or train again in another folder"
    if not path.exists():
        return f"{moved}, and its files were removed; train again, with --run and another folder"
    remedy = f"try --resume {shlex.quote(os.fspath(path))}" if (path / LAST).exists() else "it has no checkpoint yet"
    return f"{moved}; its files are in {path}: {remedy}"
