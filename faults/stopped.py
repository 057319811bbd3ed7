"""SIGINT and SIGTERM at random times: the step completes and is saved; a second signal stops immediately."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from captioner.inference.find_checkpoint import LAST
from captioner.storage import checkpoint
from faults.processes import OPTIONS, Training, difference, run_concurrently, uninterrupted
from faults.session import Row, Session, row
from faults.watch import Outcome

STEPS = 250
PROMPT = 2.0
"""Maximum seconds to finish a step, save and exit."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SELDOM = tuple(option for option in OPTIONS if "save_every" not in option)
SLOW = ("model.hidden_dim=512", "train.batch_size=256", "data.scenes.train=100")
"""Options that make steps slow, so that a second signal arrives within a step."""


def stop_and_resume(folder: Path, expected: checkpoint.Checkpoint, rng: np.random.Generator) -> Outcome:
    """Send one signal at a random time, then resume to the end."""
    number = SIGNALS[int(rng.integers(2))]
    training = Training(folder, STEPS, SELDOM)
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
    if (code := Training(folder, STEPS).end()) != 0:
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


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("stopped")
    expected = uninterrupted(folder / "uninterrupted", STEPS, SELDOM)
    tally = run_concurrently(
        lambda number, rng: [stop_and_resume(folder / f"run-{number}", expected, rng)],
        session.count(60),
        session.seed,
    )
    must = "checkpoint saved within 2 s, exit code 130 or 143; resumed run ends bit-identical"
    yield row("SIGINT or SIGTERM while training", must, tally)
    tally = run_concurrently(
        lambda number, rng: [stop_twice(folder / f"twice-{number}", rng)], session.count(20), session.seed + 1
    )
    yield row("a second signal", "process ends at once, last checkpoint valid", tally)
    tally = run_concurrently(
        lambda number, rng: [stop_at_the_end(folder / f"end-{number}", rng)], session.count(40), session.seed + 2
    )
    yield row("a signal while the process shuts down", "exit code 0 or that of the signal; no traceback", tally)
