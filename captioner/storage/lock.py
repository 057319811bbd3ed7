"""Exclusive locks on open files, which the operating system releases when the process ends."""

from __future__ import annotations

import errno
import os
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Any

UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of file systems without locks."""
POSITION = 0x7FFFFFFE
"""The byte to lock on Windows, the last that `msvcrt` can: other processes cannot read a locked byte."""


def _import(name: str) -> Any:
    """Return a module, or None if the platform lacks it."""
    with suppress(ImportError):
        return import_module(name)
    return None


fcntl = _import("fcntl")
msvcrt = _import("msvcrt")


def locks_folders() -> bool:
    """Return whether a folder can be opened and locked; Windows locks files only."""
    return fcntl is not None


def lock(descriptor: int, name: str | os.PathLike[str]) -> None:
    """Lock an open file until it is closed; warn if the platform or the file system has no locks.

    `name` is its name in the warning.

    Raises: BlockingIOError if another process, or another descriptor of this one, holds the lock; OSError.
    """
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            _lock_byte(descriptor)
        else:
            raise OSError(errno.ENOSYS, "this platform has no file locks")
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        problem = (
            f"{os.fspath(name)}: cannot be locked ({error.strerror}); make sure that no other process writes there"
        )
        warnings.warn(problem, stacklevel=3)


def _lock_byte(descriptor: int) -> None:
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, POSITION, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError as error:
        raise BlockingIOError(errno.EAGAIN, "locked by another process") from error
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)
