"""SIGKILL at random times of a training that saves after every step: resumed, it ends bit-identical."""

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
"""Seconds from the first checkpoint of a process to its end."""
MOST_KILLS = 12
"""Of one run, after which it may finish."""


def one_run(folder: Path, expected: checkpoint.Checkpoint, rng: np.random.Generator) -> list[Outcome]:
    """An outcome for every kill of one run, until the run is done; the last tells whether its end was right."""
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
    yield row("SIGKILL while training", "the last checkpoint valid, the end bit-identical", tally)
