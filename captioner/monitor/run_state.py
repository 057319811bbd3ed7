"""The state of a run: whether training has begun, runs, or has ended, and why."""

from __future__ import annotations

import os
import shlex
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from captioner.monitor.activity import Activity
from captioner.storage.files import file_version, read_json_object
from captioner.training.run_folder import RunFolder


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
    "done": "Training is done.",
    "nothing left to do": "Training is done.",
    "early stopping": "Training ended early: the validations did not improve (train.patience).",
    "stopped": "Training was stopped; continue with {resume}",
    "diverged": "Training diverged: the loss, a gradient or a parameter became too large or not finite.",
}
"""Sentences by the reason in summary.json."""
UNKNOWN_END = "Training has ended."
DAMAGED_END = "Training has ended; summary.json is damaged and does not say why."


def find_state(folder: Path, activity: Activity) -> RunState:
    """Return the state of the run in a folder, which may be written at the same time."""
    if not folder.is_dir():
        return RunState(Kind.MISSING, f"{folder}: folder not found; it was moved or deleted.")
    run = RunFolder(folder)
    files = run.config, run.history, run.last, run.best, run.captions
    changed = max((found.changed for found in map(file_version, files) if found), default=0.0)
    if not changed:
        return RunState(Kind.WAITING, "Waiting for training: the folder has no run yet.")
    summary, record = file_version(run.summary), file_version(run.history)
    has_ended = summary is not None and summary.changed >= changed
    recorded = record.changed if record else 0.0
    if activity.is_training(folder, changed, has_ended):
        if not recorded:
            return RunState(Kind.WAITING, "Training has begun: no step is recorded yet.")
        return RunState(Kind.RUNNING, "Training is running.", recorded)
    resume = f"captioner train --resume {shlex.quote(os.fspath(folder))}"
    if has_ended:
        reason = read_json_object(run.summary).get("ended")
        text = ENDINGS.get(reason, UNKNOWN_END) if isinstance(reason, str) else DAMAGED_END
        return RunState(Kind.ENDED, text.format(resume=resume), recorded)
    remedy = f"continue with {resume}" if run.last.exists() else "it has no checkpoint to resume from"
    return RunState(Kind.LOST, f"Training was killed, or its process is not visible; {remedy}", recorded)
