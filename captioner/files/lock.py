"""Locks against a second process, held until a descriptor is closed or the process ends."""

from __future__ import annotations

import fcntl
import os
import warnings
from contextlib import suppress
from pathlib import Path

from captioner.errors import UsageError
from captioner.files.atomic import write_atomically


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
    """The lock of `path`, a hidden file beside it; in another, `stored`, is what the next process is to restore.

    Raises: UsageError, as `lock`, which names `name`; OSError when the file cannot be created.
    """

    def __init__(self, path: Path, name: Path, busy: str) -> None:
        self._path = path.with_name(f".{path.name}.lock")
        self.stored = path.with_name(f".{path.stem}.lock{path.suffix}")
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                lock(self._descriptor, name, busy)
                if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
                    return
            except FileNotFoundError:
                pass  # the process that held the lock has removed the file: create another
            except UsageError:
                os.close(self._descriptor)
                raise
            os.close(self._descriptor)

    def store(self, content: bytes) -> None:
        """Store content for the next process, on the disk; what was stored before is replaced. Raises: OSError."""
        write_atomically(self.stored, content)

    def release(self, keep: bool = False) -> None:
        """Remove the files, but not what is stored if it is to be kept, and release the lock."""
        for path in (self._path,) if keep else (self.stored, self._path):
            with suppress(OSError):
                path.unlink()
        os.close(self._descriptor)
