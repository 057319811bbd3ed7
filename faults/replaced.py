"""The run folder of a running training is moved or removed, and another training starts under the same path."""

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
"""Of the second training."""
SAVE_EVERY = (1, 200, 1_000)
"""Steps between two writes of the first: it writes before the second has begun, or while it trains."""
LONG = ("data.scenes.train=800", "train.batch_size=4")
"""Epochs of 1,000 steps: each ends with a checkpoint."""
MOST_STEPS = 3_000
"""Of the first training."""
SELDOM = tuple(option for option in OPTIONS if "_every" not in option)


def move(folder: Path) -> None:
    folder.rename(folder.with_suffix(".moved"))


def remove(folder: Path) -> None:
    """As `rm -rf`, which begins anew where a file was written meanwhile."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


CASES: Mapping[str, Callable[[Path], None]] = {"moved": move, "removed": remove}


def replaced(
    how: str, folder: Path, expected: Checkpoint, every: int, rng: np.random.Generator, code: str = ""
) -> Outcome:
    """Two trainings under one path, the second begun at a random time of the first."""
    seldom = f"train.save_every={every}", f"train.log_every={every}"
    first = Training(folder, MOST_STEPS, (*SELDOM, *LONG, *seldom, FIRST), code=code)
    if not first.until_it_saves():
        return Outcome("wrong", f"did not begin: {first.stderr[-200:]}")
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
    """What in the folder is not of the second training; "" where all of it is."""
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
    """What is wrong with the folder that was moved; "" where it is whole."""
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
