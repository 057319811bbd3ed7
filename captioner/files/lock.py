"""Exclusive locks on open files and folders, which the operating system releases when the process ends."""

from __future__ import annotations

import errno
import fcntl
import os
import warnings

UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Errors of file systems without locks."""


def lock(descriptor: int, name: str | os.PathLike[str]) -> None:
    """Lock an open file or folder until it is closed; warn if the file system has no locks.

    `name` is its name in the warning.

    Raises: BlockingIOError if another process, or another descriptor of this one, holds the lock; OSError.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        problem = (
            f"{os.fspath(name)}: cannot be locked ({error.strerror}); make sure that no other process writes there"
        )
        warnings.warn(problem, stacklevel=3)
