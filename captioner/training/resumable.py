"""Find the run to resume, recover its last checkpoint, and check its optimizer slots."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from captioner.config.options import Config
from captioner.errors import CheckpointError, UsageError
from captioner.inference.find_checkpoint import nearest_runs
from captioner.inference.restore import Restored, restore
from captioner.optim.ema import EMA
from captioner.optim.update_rules import UPDATE_RULES
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks
from captioner.storage.atomic import write_atomically
from captioner.training.folder_lock import FolderLock
from captioner.training.run_folder import RunFolder


def find_run(folder: str | os.PathLike[str], ranks: Ranks = SINGLE_PROCESS) -> RunFolder:
    """Return the run folder at a path; a missing last checkpoint is recovered from the best one.

    Raises: UsageError or CheckpointError when it cannot be resumed.
    """
    run = RunFolder(Path(folder), ranks)
    parent = os.path.dirname(folder) or "."
    if os.path.isfile(folder) and (Path(parent) / run.last.name).exists():
        raise UsageError(f"{folder}: expected a run folder, got a file; try --resume {shlex.quote(parent)}")
    ranks.on_rank_0(lambda: recover_last(run))
    if run.last.exists():
        return run
    if run.captions.exists():
        raise CheckpointError(
            f"{folder}: {run.last.name} not found; an interrupted `captioner distill` left captions alone: "
            "repeat that command to continue"
        )
    raise CheckpointError(
        f"{folder}: {run.last.name} not found; expected a folder written by `captioner train`{nearest_runs(run.path)}"
    )


def recover_last(run: RunFolder) -> None:
    """Copy best.h5 to a missing last.h5: the first best.h5 is written before the first last.h5, so a kill between them
    leaves best.h5 alone.

    Raises: CheckpointError for an imported model, which has no optimizer state, or a damaged best.h5; UsageError when
    another process trains in the folder.
    """
    if run.last.exists() or not run.best.exists():
        return
    best = restore(run.best)
    # An update rule without slots leaves none in any checkpoint, but an imported model has no history either.
    if not best.slots and (expected_slots(best.config) or not run.history.exists()):
        raise CheckpointError(
            f"{run.path}: {run.last.name} not found: an imported model cannot be resumed; "
            "start a new run from it with -o train.init_from"
        )
    lock = FolderLock(run.path)
    try:
        with run.writing(run.last):
            write_atomically(run.last, (run.best.read_bytes(),))
    finally:
        lock.release()


def expected_slots(config: Config) -> list[str]:
    """Return the names of the slots of a run: those of its update rule, and the EMA if it has one."""
    rule = UPDATE_RULES[config.train.update_rule]
    return [*rule.slots, *([EMA] if config.train.ema_decay is not None else [])]


def check_slots(restored: Restored) -> None:
    """Raises: CheckpointError when the slots are not those of the update rule and the EMA."""
    expected, got = expected_slots(restored.config), restored.slots.keys()
    if set(expected) != got:
        raise CheckpointError(f"{restored.path}: slots: expected {', '.join(expected)}, got {', '.join(got) or 'none'}")
