"""Move or remove the run folder during training, and start another training at the same path."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from captioner.config.yaml_io import load
from captioner.errors import CaptionerError
from captioner.inference.find_checkpoint import LAST
from captioner.storage import checkpoint
from captioner.storage.checkpoint import Checkpoint
from faults.processes import OPTIONS, Training, difference, run_concurrently, uninterrupted
from faults.session import Row, Session, row
from faults.watch import Outcome

FIRST, SECOND = "seed=1", "seed=2"
STEPS = 60
"""Number of steps of the second training."""
SAVE_EVERY = (1, 200, 1_000)
"""Checkpoint intervals of the first training: it saves before the second starts, or while the second trains."""
LONG = ("data.scenes.train=800", "train.batch_size=4")
"""Options for epochs of 1,000 steps, each of which ends with a checkpoint."""
MOST_STEPS = 3_000
"""Maximum number of steps of the first training."""
SELDOM = tuple(option for option in OPTIONS if "_every" not in option)


def move(folder: Path) -> None:
    folder.rename(folder.with_suffix(".moved"))


def remove(folder: Path) -> None:
    """Remove the folder; retry if a file is written meanwhile."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


CASES: Mapping[str, Callable[[Path], None]] = {"moved": move, "removed": remove}


def replaced(
    how: str, folder: Path, expected: Checkpoint, every: int, rng: np.random.Generator, code: str = ""
) -> Outcome:
    """Run two trainings at one path; the second starts at a random time of the first."""
    seldom = f"train.save_every={every}", f"train.log_every={every}"
    first = Training(folder, MOST_STEPS, (*SELDOM, *LONG, *seldom, FIRST), code=code)
    if not first.until_it_saves():
        return Outcome("wrong", f"did not start: {first.stderr[-200:]}")
    time.sleep(0.3 * rng.random())
    CASES[how](folder)
    second = Training(folder, STEPS, (*OPTIONS, SECOND))
    codes = first.end(), second.end()
    errors = [line for line in first.stderr.splitlines() if line.startswith("captioner: ")]
    if codes != (1, 0) or len(errors) != 1 or "Traceback" in first.stderr:
        return Outcome("wrong", f"exit codes {codes}: {first.stderr[-300:]} {second.stderr[-300:]}")
    # a file may be missing while the folder is being removed
    if not errors[0].startswith(f"captioner: {folder}") or ": cannot write" not in errors[0]:
        return Outcome("wrong", f"names no folder and reason: {errors[0]}")
    problem = check_second_run(folder, expected)
    if not problem and how == "moved":
        problem = check_moved_folder(folder.with_suffix(".moved"))
    return Outcome("wrong", problem) if problem else Outcome("stopped, files not mixed")


def check_second_run(folder: Path, expected: Checkpoint) -> str:
    """Check that all files belong to the second training; return the problem or ""."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    if [line["step"] for line in lines if line["kind"] == "step"] != list(range(1, STEPS + 1)):
        return "history.jsonl: expected every step of the second training once"
    if f"seed={load(folder / 'config.yaml').seed}" != SECOND:
        return "config.yaml is another training's"
    if json.loads((folder / "summary.json").read_text())["steps"] != STEPS:
        return "summary.json is another training's"
    if left := [path.name for path in folder.glob(".*.tmp")]:
        return f"left behind: {left}"
    return difference(checkpoint.load(folder / LAST), expected)


def check_moved_folder(folder: Path) -> str:
    """Check that the moved folder contains the first training only; return the problem or ""."""
    try:
        seed = "\n" + checkpoint.load(folder / LAST).meta.config
    except CaptionerError as error:
        return str(error)
    right = f"seed={load(folder / 'config.yaml').seed}" == FIRST and f"\n{FIRST.replace('=', ': ')}\n" in seed
    return "" if right else "the moved folder holds another training"


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("replaced")
    expected = uninterrupted(folder / "uninterrupted", STEPS, (*OPTIONS, SECOND))
    for how in CASES:
        tally = run_concurrently(
            lambda number, rng, how=how: [
                replaced(how, folder / f"{how}-{number}", expected, SAVE_EVERY[number % len(SAVE_EVERY)], rng)
            ],
            session.count(60),
            session.seed,
        )
        fault = f"the run folder {how} while training, and another training under its path"
        yield row(fault, "exit 1 and one line; the files of the second are unaffected", tally)
