"""Find the run to resume, and check its optimizer slots."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from captioner.errors import CheckpointError, UsageError
from captioner.inference.find_checkpoint import nearest_runs
from captioner.inference.restore import Restored
from captioner.optim.ema import EMA
from captioner.optim.update_rules import UPDATE_RULES
from captioner.parallel.ranks import ALONE, Ranks
from captioner.training.run_folder import RunFolder


def find_run(folder: str | os.PathLike[str], ranks: Ranks = ALONE) -> RunFolder:
    """Return the run folder at a path. Raises: UsageError or CheckpointError when it has no last checkpoint."""
    run = RunFolder(Path(folder), ranks)
    parent = os.path.dirname(folder) or "."
    if os.path.isfile(folder) and (Path(parent) / run.last.name).exists():
        raise UsageError(f"{folder}: expected a run folder, got a file; try --resume {shlex.quote(parent)}")
    if run.last.exists():
        return run
    if run.best.exists():
        raise CheckpointError(
            f"{folder}: {run.last.name} not found: an imported model cannot be resumed; "
            "start a new run from it with -o train.init_from"
        )
    if run.captions.exists():
        raise CheckpointError(
            f"{folder}: {run.last.name} not found; an interrupted `captioner distill` left captions alone: "
            "repeat that command to continue"
        )
    raise CheckpointError(
        f"{folder}: {run.last.name} not found; expected a folder written by `captioner train`{nearest_runs(run.path)}"
    )


def check_slots(restored: Restored) -> None:
    """Raises: CheckpointError when the slots are not those of the update rule and the EMA."""
    options = restored.config.train
    expected, got = [*UPDATE_RULES[options.update_rule].slots], restored.slots.keys()
    expected += [EMA] if options.ema_decay is not None else []
    if set(expected) != got:
        raise CheckpointError(f"{restored.path}: slots: expected {', '.join(expected)}, got {', '.join(got) or 'none'}")
