"""SIGKILL at random times during training, then resume: the result must be bit-identical."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from captioner.errors import CheckpointError
from captioner.inference.find_checkpoint import LAST
from captioner.storage import checkpoint
from faults.processes import Training, difference, run_concurrently, uninterrupted
from faults.session import Row, Session, row
from faults.watch import Outcome

STEPS = 120
LONGEST = 0.5
"""Maximum seconds between the first checkpoint of a process and its kill."""
MOST_KILLS = 12
"""Maximum number of kills per run."""


def one_run(folder: Path, expected: checkpoint.Checkpoint, rng: np.random.Generator) -> list[Outcome]:
    """Kill and resume one run until it finishes; return one outcome per kill, the last for the final checkpoint."""
    outcomes: list[Outcome] = []
    for kills in range(MOST_KILLS + 1):
        training = Training(folder, STEPS)
        if kills < MOST_KILLS and training.until_it_saves():
            time.sleep(LONGEST * rng.random())
            training.process.send_signal(signal.SIGKILL)
        code = training.end()
        if code not in (0, -signal.SIGKILL):
            return [*outcomes, Outcome("wrong", f"exit code {code}: {training.stderr[-200:]}")]
        if code == 0:
            break
        try:
            checkpoint.load(folder / LAST)
        except CheckpointError as error:
            return [*outcomes, Outcome("wrong", str(error))]
        outcomes.append(Outcome("resumed bit-identical"))
    left = sorted(path.name for path in folder.glob(".*.tmp"))
    problem = difference(checkpoint.load(folder / LAST), expected) or (f"left behind: {left}" if left else "")
    shutil.rmtree(folder)
    return [*outcomes[:-1], Outcome("wrong", problem)] if problem else outcomes


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("killed")
    expected = uninterrupted(folder / "uninterrupted", STEPS)
    tally = run_concurrently(
        lambda number, rng: one_run(folder / f"run-{number}", expected, rng), session.count(200), session.seed
    )
    yield row("SIGKILL while training", "last checkpoint valid; resumed run ends bit-identical", tally)
