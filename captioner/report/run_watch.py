"""The progress of a training run in another process: whether it runs, its speed and its remaining time."""

from __future__ import annotations

import os
import shlex
import time
from collections import deque
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from captioner.storage.files import file_version, read_json_object
from captioner.storage.lock import locks_folders
from captioner.training.run_folder import LOCK, RunFolder

LOCKS = Path("/proc/locks")
"""Linux lists all locks here. To try the lock of a run could stop a training that is just starting."""
QUIET = 300.0
"""Seconds without a change after which training seems to have ended, if locks are not listed."""
WINDOW = 200
"""Times that the remaining time is estimated from."""
UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Kind(Enum):
    """Kinds of states; `LOST` is a run that no process trains, without a summary of its end."""

    MISSING = "missing"
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"
    LOST = "lost"


class RunState(NamedTuple):
    """The state of a run, in a sentence; `changed` is the time of its last record in seconds, 0 if it has none."""

    kind: Kind
    text: str
    changed: float = 0.0


ENDINGS = {
    "done": "training is done",
    "nothing left to do": "training is done",
    "early stopping": "training ended early: the validations did not improve (train.patience)",
    "stopped": "training was stopped; continue with {resume}",
    "diverged": "training diverged: the loss, a gradient or a parameter became too large or not finite",
}
"""What happened, by the reason in summary.json."""


class RunWatch:
    """Finds out whether a process trains in a run folder: by its lock, or else by the time of the last change.

    Other platforms, some file systems and some containers hide locks, so a missing lock means something only after it
    was listed once. Nothing in the folder is written or locked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._run, self._was_locked = folder, RunFolder(folder), False

    def look(self) -> RunState:
        """Return the state of the run, which may be written at the same time."""
        if not self._folder.is_dir():
            return RunState(Kind.MISSING, "folder not found; it was moved or deleted")
        run = self._run
        files = run.config, run.history, run.last, run.best, run.captions
        changed = max((version.changed for version in map(file_version, files) if version), default=0.0)
        if not changed:
            return RunState(Kind.WAITING, "waiting for training: the folder has no run yet")
        summary, record = file_version(run.summary), file_version(run.history)
        has_ended = summary is not None and summary.changed >= changed
        recorded = record.changed if record else 0.0
        is_locked = lock_is_listed(self._folder)
        self._was_locked = self._was_locked or is_locked
        is_recent = time.time() - changed <= QUIET
        if is_locked or (is_recent and not (self._was_locked or has_ended)):
            return RunState(Kind.RUNNING, "training", recorded)
        resume = f"captioner train --resume {shlex.quote(os.fspath(self._folder))}"
        if has_ended:
            reason = read_json_object(run.summary).get("ended")
            text = ENDINGS.get(reason, "training has ended") if isinstance(reason, str) else "training has ended"
            return RunState(Kind.ENDED, text.format(resume=resume), recorded)
        remedy = f"continue with {resume}" if run.last.exists() else "it has no checkpoint to resume from"
        return RunState(Kind.LOST, f"training was killed, or its process is not visible; {remedy}", recorded)


def lock_is_listed(folder: Path) -> bool:
    """Return whether a process is listed that holds the lock of a run folder."""
    try:
        status = os.stat(folder if locks_folders() else folder / LOCK)
        lines = LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not on Linux
        return False
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    # such as `3: FLOCK  ADVISORY  WRITE 4711 08:02:131073 0 EOF`
    return any(words[1:2] == ["FLOCK"] and file in words for words in map(str.split, lines))


class Pace:
    """(time, last recorded step) pairs since training started or resumed.

    `steps_per_second` is the last measurement, without the time of validation; None before it.
    """

    def __init__(self) -> None:
        self.steps_per_second: float | None = None
        self._observed: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._session: object = None

    def observe(self, seconds: float, step: int, session: object = None) -> None:
        """Note that a step was the last one recorded at a time in seconds.

        Another `session` forgets the times before a break. A later time of the same step ends its validation.
        """
        if session != self._session or (self._observed and step < self._observed[-1][1]):
            self._observed.clear()
            self.steps_per_second = None
        self._session = session
        if self._observed and step > self._observed[-1][1] and seconds > self._observed[-1][0]:
            self.steps_per_second = (step - self._observed[-1][1]) / (seconds - self._observed[-1][0])
        if not self._observed or self._observed[-1] != (seconds, step):
            self._observed.append((seconds, step))

    def remaining(self, total: int, now: float) -> float | None:
        """Return the seconds until step `total`, with pauses for validation, or None if they are not known yet."""
        if not self._observed or self._observed[-1][1] == self._observed[0][1]:
            return None
        (began, first), (last_time, last) = self._observed[0], self._observed[-1]
        return max(0.0, last_time + (total - last) * (last_time - began) / (last - first) - now)


def duration(seconds: float) -> str:
    """Write a duration with its two largest units, such as `2 h 5 min` or `40 s`."""
    whole = max(0, round(seconds))
    for (size, unit), (smaller, name) in pairwise(UNITS):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {name}"
    return f"{whole} s"


def clock(seconds: float, now: float) -> str:
    """Write a time since the epoch as local time, with its date if it is not today."""
    then, today = time.localtime(seconds), time.localtime(now)
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%Y-%m-%d %H:%M", then)
