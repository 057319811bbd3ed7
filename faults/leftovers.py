"""SIGKILL before each time that a command opens, renames or removes a file; then the same command completes."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from faults.materials import make_run
from faults.processes import MOST_SECONDS, run_concurrently
from faults.session import Row, Session, captioner, row
from faults.versions import make_album
from faults.watch import Outcome

KILLED = """
import os, signal, sys
folder, before = sys.argv.pop(1), int(sys.argv.pop(1))

def kill(event, args):
    global before
    if event in ("open", "os.rename", "os.remove") and str(args[0]).startswith(folder):
        before -= 1
        if not before:
            os.kill(os.getpid(), signal.SIGKILL)

from captioner.cli import main
sys.addaudithook(kill)
main()
"""
"""Run a command, and kill it before the n-th use of a file in a folder."""
WIDTH = 8


class Inputs(NamedTuple):
    """What the commands read."""

    album: Path
    features: Path
    run: Path


COMMANDS: Mapping[str, str] = {
    "prepare": "prepare {album}/captions.csv --output {folder}/out.h5 --encoder scenes",
    "prepare --features": "prepare {album}/captions.csv --output {folder}/out.h5 --features {features}",
    "sample --write-sidecar": "sample {run} {folder} --write-sidecar .txt",
    "sample --write-sidecar --overwrite": "sample {run} {folder} --write-sidecar .old --overwrite",
}
USES = {"prepare": 7, "prepare --features": 6, "sample --write-sidecar": 15, "sample --write-sidecar --overwrite": 15}
"""The number of times that a command uses a file that it writes."""
TRIALS = [(name, use) for name, uses in USES.items() for use in range(1, uses + 1)]
OLD = ".old"
"""The suffix of existing sidecars."""


def make_inputs(folder: Path) -> Inputs:
    inputs = Inputs(make_album(folder / "album"), folder / "features.h5", make_run(folder / "run"))
    with h5py.File(inputs.features, "w") as file:
        file["features"] = np.random.default_rng(0).standard_normal((100, WIDTH)).astype("f4")
    return inputs


def kill_and_repeat(name: str, use: int, folder: Path, inputs: Inputs, expected: Mapping[str, bytes]) -> Outcome:
    """Kill a command before its use number `use` of a file, repeat it, and compare the files with the expected ones."""
    command = make_command(name, folder, inputs)
    killed = captioner(folder, use, *command, code=KILLED)
    _, stderr = killed.communicate(timeout=MOST_SECONDS)
    if killed.returncode == 0:
        return Outcome("was done already")
    if killed.returncode != -signal.SIGKILL:
        return Outcome("wrong", f"use {use}: exit code {killed.returncode}: {stderr[-300:]}")
    repeated = captioner(*command)
    _, stderr = repeated.communicate(timeout=MOST_SECONDS)
    # a data set that is complete is not replaced: exit code 2
    if repeated.returncode not in (0, 2) or "Traceback" in stderr:
        return Outcome("wrong", f"use {use}: repeated with exit code {repeated.returncode}: {stderr[-300:]}")
    found = contents(folder)
    different = sorted(file for file in found.keys() | expected.keys() if found.get(file) != expected.get(file))
    shutil.rmtree(folder)
    return Outcome("wrong", f"use {use}: differs: {different}; {stderr[-200:]}") if different else Outcome("completed")


def make_command(name: str, folder: Path, inputs: Inputs) -> list[str]:
    """Make the folder that a command writes into, empty or with photographs, and return its words."""
    folder.mkdir()
    if name.startswith("sample"):
        for photo in sorted(inputs.album.glob("*.png"))[:3]:
            shutil.copy(photo, folder)
            (folder / photo.with_suffix(OLD).name).write_text("old")
    return COMMANDS[name].format(folder=folder, **inputs._asdict()).split()


def completed(name: str, folder: Path, inputs: Inputs) -> dict[str, bytes]:
    """Return the files after a command that is not killed."""
    command = make_command(name, folder, inputs)
    done = captioner(*command)
    _, stderr = done.communicate(timeout=MOST_SECONDS)
    if done.returncode:
        raise RuntimeError(stderr)
    found = contents(folder)
    shutil.rmtree(folder)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("leftovers")
    inputs = make_inputs(folder)
    expected = {name: completed(name, folder / "completed", inputs) for name in COMMANDS}

    def trial(number: int, rng: np.random.Generator) -> list[Outcome]:
        name, use = TRIALS[number % len(TRIALS)]
        return [kill_and_repeat(name, use, folder / f"{number}", inputs, expected[name])]

    tally = run_concurrently(trial, session.count(len(TRIALS)), session.seed)
    yield row(
        "SIGKILL while prepare or sample --write-sidecar writes files",
        "the same command completes, and leaves no temporary file",
        tally,
    )
