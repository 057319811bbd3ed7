"""SIGKILL, SIGINT and SIGTERM at random times: what was saved is valid, and the same command continues from it."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from captioner.captioning.find_checkpoint import LAST
from captioner.errors import CheckpointError
from captioner.files import checkpoint
from faults.processes import OPTIONS, Training, difference, uninterrupted
from faults.session import Row, Session
from faults.watch import Outcome

STEPS = 120
LONGEST = 0.5
"""Maximum seconds between the first checkpoint of a process and its kill."""
MOST_KILLS = 12
"""Maximum number of kills per run."""


def kill_and_resume(folder: Path, expected: checkpoint.Checkpoint, rng: np.random.Generator) -> list[Outcome]:
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


def measure_killed(session: Session) -> Iterator[Row]:
    folder = session.folder("killed")
    expected = uninterrupted(folder / "uninterrupted", STEPS)
    must = "last checkpoint valid; resumed run ends bit-identical"
    yield session.run_in_threads(
        "SIGKILL while training",
        must,
        lambda number, rng: kill_and_resume(folder / f"run-{number}", expected, rng),
        200,
    )


STOP_STEPS = 250
PROMPT = 2.0
"""Maximum seconds to finish a step, save and exit."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SELDOM = tuple(option for option in OPTIONS if "save_every" not in option)
SLOW = ("model.hidden_dim=512", "train.batch_size=256", "data.scenes.train=100")
"""Options that make steps slow, so that a second signal arrives within a step."""


def stop_and_resume(folder: Path, expected: checkpoint.Checkpoint, rng: np.random.Generator) -> Outcome:
    """Send one signal at a random time, then resume to the end."""
    number = SIGNALS[int(rng.integers(2))]
    training = Training(folder, STOP_STEPS, SELDOM)
    if not training.until_it_trains():
        return Outcome("wrong", f"did not start: {training.stderr[-200:]}")
    time.sleep(0.8 * rng.random())
    training.process.send_signal(number)
    started = time.monotonic()
    code, took = training.end(), time.monotonic() - started
    stderr = training.stderr
    if code in (0, -number) and "\ndone after" in stderr:
        return Outcome("was done already")
    if code != 128 + number or "Traceback" in stderr:
        return Outcome("wrong", f"{number.name}: exit code {code}: {stderr[-300:]}")
    if took > PROMPT:
        return Outcome("wrong", f"{number.name}: took {took:.1f} s")
    saved = checkpoint.load(folder / LAST).meta.step
    if f"stopped after {saved:,} step" not in stderr and f"done after {saved:,} step" not in stderr:
        return Outcome("wrong", f"{number.name}: saved step {saved}: {stderr[-200:]}")
    if (code := Training(folder, STOP_STEPS).end()) != 0:
        return Outcome("wrong", f"resumed with exit code {code}")
    problem = difference(checkpoint.load(folder / LAST), expected)
    shutil.rmtree(folder)
    return Outcome("wrong", problem) if problem else Outcome("resumed bit-identical")


def stop_twice(folder: Path, rng: np.random.Generator) -> Outcome:
    """Send a second signal, of either kind, before the current step ends."""
    first, second = (SIGNALS[int(k)] for k in rng.integers(2, size=2))
    training = Training(folder, 50, (*OPTIONS, *SLOW))
    if not training.until_it_saves():
        return Outcome("wrong", f"did not start: {training.stderr[-200:]}")
    time.sleep(0.2 * rng.random())
    training.process.send_signal(first)
    time.sleep(0.1)
    training.process.send_signal(second)
    started = time.monotonic()
    code, took = training.end(), time.monotonic() - started
    # subprocess reports death by a signal as -number; a shell reports 128 + number
    ends = {128 + first: "the step was done already", -second: "at once"}
    if code not in ends or (code == -second and took > PROMPT) or "Traceback" in training.stderr:
        return Outcome("wrong", f"{first.name}, {second.name}: {code} after {took:.2f} s: {training.stderr[-200:]}")
    checkpoint.load(folder / LAST)
    shutil.rmtree(folder)
    return Outcome(ends[code])


def stop_at_the_end(folder: Path, rng: np.random.Generator) -> Outcome:
    """Send a signal after training, while the process shuts down."""
    number = SIGNALS[int(rng.integers(2))]
    training = Training(folder, 3, SELDOM)
    while training.process.poll() is None and "done after" not in training.stderr:
        time.sleep(0.001)
    time.sleep(0.1 * rng.random())
    training.process.send_signal(number)
    code = training.end()
    if code not in (0, 128 + number, -number) or "Traceback" in training.stderr or "ignored" in training.stderr:
        return Outcome("wrong", f"{number.name}: exit code {code}: {training.stderr[-300:]}")
    checkpoint.load(folder / LAST)
    return Outcome("done" if code == 0 else "stopped")


def measure_stopped(session: Session) -> Iterator[Row]:
    folder = session.folder("stopped")
    expected = uninterrupted(folder / "uninterrupted", STOP_STEPS, SELDOM)
    yield session.run_in_threads(
        "SIGINT or SIGTERM while training",
        "checkpoint saved within 2 s, exit code 130 or 143; resumed run ends bit-identical",
        lambda number, rng: stop_and_resume(folder / f"run-{number}", expected, rng),
        60,
    )
    yield session.run_in_threads(
        "a second signal",
        "process ends at once, last checkpoint valid",
        lambda number, rng: stop_twice(folder / f"twice-{number}", rng),
        20,
        seed=1,
    )
    yield session.run_in_threads(
        "a signal while the process shuts down",
        "exit code 0 or that of the signal; no traceback",
        lambda number, rng: stop_at_the_end(folder / f"end-{number}", rng),
        40,
        seed=2,
    )
