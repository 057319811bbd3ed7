"""Locks against a second process, held until a descriptor is closed or the process ends."""

from __future__ import annotations

import fcntl
import os
import warnings
from contextlib import suppress
from pathlib import Path

from captioner.errors import UsageError


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
