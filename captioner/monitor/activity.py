"""Find out whether a process trains in a run folder, without taking its lock."""

from __future__ import annotations

import os
import time
from pathlib import Path

from captioner.storage.lock import locks_folders
from captioner.training.folder_lock import LOCK

LOCKS = Path("/proc/locks")
"""Linux lists all locks here."""
QUIET = 300.0
"""Seconds without a change after which training seems to have ended, if locks are not listed."""


def is_locked(folder: Path) -> bool:
    """Return whether a process is listed that holds the lock of a run folder."""
    try:
        status = os.stat(folder if locks_folders() else folder / LOCK)
        lines = LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not on Linux
        return False
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    # such as `3: FLOCK  ADVISORY  WRITE 4711 08:02:131073 0 EOF`
    return any(words[1:2] == ["FLOCK"] and file in words for words in map(str.split, lines))


class Activity:
    """Whether training runs: by the lock of its folder, or else by the time of the last change.

    Other platforms, some file systems and some containers hide locks, so a missing lock means something only after it
    was listed once.
    """

    def __init__(self) -> None:
        self._was_locked = False

    def is_training(self, folder: Path, changed: float, has_ended: bool) -> bool:
        """Return whether a process trains in a folder.

        `changed` is the time of its last change in seconds, `has_ended` whether the last training wrote its summary.
        """
        locked = is_locked(folder)
        self._was_locked = self._was_locked or locked
        return locked or not (self._was_locked or has_ended or time.time() - changed > QUIET)
