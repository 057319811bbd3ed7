"""Locks against a second process, held until a descriptor is closed or the process ends."""

from __future__ import annotations

import fcntl
import os
import warnings
from contextlib import suppress
from pathlib import Path

from captioner.errors import UsageError
from captioner.files.atomic import write_atomically


def lock(path: Path, flags: int, name: Path, busy: str) -> int:
    """Open a file or folder, lock it, and return its descriptor. On a file system without locks, warn.

    Raises: UsageError, which names `name` and ends with `busy`, when another process holds the lock; OSError when it
    cannot be opened.
    """
    while True:
        descriptor = os.open(path, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(f"{name}: {busy}") from None
        except OSError as error:
            problem = f"{name}: cannot be locked ({error.strerror}); make sure that no other process writes there"
            warnings.warn(problem, stacklevel=4)
        # the process that held the lock may have removed or renamed what was opened: open the new one
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)


class LockFile:
    """The lock of `path`, a hidden file beside it; in another, `stored`, is what the next process is to restore.

    Raises: as `lock`.
    """

    def __init__(self, path: Path, name: Path, busy: str) -> None:
        self._path = path.with_name(f".{path.name}.lock")
        self.stored = path.with_name(f".{path.stem}.lock{path.suffix}")
        self._descriptor = lock(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, name, busy)

    def store(self, content: bytes) -> None:
        """Store content for the next process, on the disk; what was stored before is replaced. Raises: OSError."""
        write_atomically(self.stored, content)

    def release(self, keep: bool = False) -> None:
        """Remove the files, but not what is stored if it is to be kept, and release the lock."""
        for path in (self._path,) if keep else (self.stored, self._path):
            with suppress(OSError):
                path.unlink()
        os.close(self._descriptor)
