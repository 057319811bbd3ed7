"""An exclusive lock on a run folder, which also detects that the folder was moved or replaced."""

from __future__ import annotations

import contextlib
import os
import shlex
import weakref
from pathlib import Path

from captioner.errors import CaptionerError, UsageError
from captioner.inference.find_checkpoint import LAST
from captioner.storage.lock import lock, locks_folders

LOCK = ".lock"
"""The locked file in a run folder, on platforms that cannot lock folders."""


class FolderLock:
    """A lock held until this object is deleted or its process ends.

    Raises: UsageError when another process holds the lock.
    """

    def __init__(self, path: Path) -> None:
        file = None if locks_folders() else path / LOCK
        self._path, self._flags = (path, os.O_RDONLY) if file is None else (file, os.O_RDWR)
        self._descriptor = os.open(self._path, self._flags | (0 if file is None else os.O_CREAT))
        try:
            lock(self._descriptor, path)
        except BaseException as error:
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise UsageError(
                    f"{path}: another process trains in this folder; wait for it, or choose another folder with --run"
                ) from None
            raise
        self.release = weakref.finalize(self, _release, self._descriptor, file)

    def check_not_moved(self, file: Path) -> None:
        """Raises: CaptionerError that names `file` when the path no longer leads to the locked folder."""
        if not self._is_in_place():
            raise CaptionerError(f"{file}: cannot write: {_moved_message(self._descriptor)}")

    def _is_in_place(self) -> bool:
        try:
            descriptor = os.open(self._path, self._flags)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return os.path.sameopenfile(descriptor, self._descriptor)
        finally:
            os.close(descriptor)


def _release(descriptor: int, file: Path | None) -> None:
    os.close(descriptor)
    if file is not None:
        with contextlib.suppress(OSError):  # Windows keeps a file that another process has opened
            file.unlink()


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
