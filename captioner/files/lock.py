"""Locks against a second process, held until a descriptor is closed or the process ends."""

from __future__ import annotations

import fcntl
import os
import warnings
from contextlib import suppress
from pathlib import Path

from captioner.errors import UsageError


def lock(descriptor: int, path: Path, busy: str) -> None:
    """Lock an open file or folder. On a file system without locks, warn.

    Raises: UsageError, which names `path` and ends with `busy`, when another process holds the lock.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{path}: {busy}") from None
    except OSError as error:
        problem = f"{path}: cannot be locked ({error.strerror}); make sure that no other process writes there"
        warnings.warn(problem, stacklevel=4)


class LockFile:
    """The lock file of `path`, a hidden file beside it, with what the next process restores if this one is killed.

    Raises: UsageError, as `lock`, which names `name`; OSError when the file cannot be created.
    """

    def __init__(self, path: Path, name: Path, busy: str) -> None:
        self.path = path.with_name(f".{path.stem}.lock{path.suffix}")
        while True:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                lock(self._descriptor, name, busy)
                if os.path.samestat(os.fstat(self._descriptor), os.stat(self.path)):
                    return
            except FileNotFoundError:
                pass  # the process that held the lock has removed the file: create another
            except UsageError:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)

    def has_content(self) -> bool:
        """Return whether there is something to restore."""
        return os.fstat(self._descriptor).st_size > 0

    def store(self, content: bytes) -> None:
        """Store content for the next process, on the disk. Raises: OSError."""
        self.path.write_bytes(content)
        os.fsync(self._descriptor)

    def release(self, keep: bool = False) -> None:
        """Release the lock, and remove the file unless its content is to be kept."""
        if not keep:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)
