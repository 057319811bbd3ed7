"""SIGKILL before a use of a file: the same command, repeated, ends as if it had not been killed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from captioner.training.run_folder import RunFolder
from faults.materials import make_album, make_run
from faults.processes import MOST_SECONDS
from faults.resumed import TINY, compare
from faults.session import Row, Session, captioner, settings
from faults.watch import Outcome

KILLED = """
import atexit, os, signal, sys
folder, before = sys.argv.pop(1), int(sys.argv.pop(1))

def kill(event, args):
    global before
    if event in ("open", "os.rename", "os.remove") and str(args[0]).startswith(folder):
        before -= 1
        if not before:
            os.kill(os.getpid(), signal.SIGKILL)

from captioner.cli import main
sys.addaudithook(kill)
atexit.register(lambda: print(f"uses left: {before}"))
main()
"""
"""Run a command, and kill it before the n-th use of a file in a folder; else print how many more uses were left."""
KILLED_CODES = (-signal.SIGKILL, signal.SIGKILL)
"""The exit codes of a killed process, and of mpiexec if a rank is killed."""
NEVER = 1_000_000


class Ended(NamedTuple):
    """The exit code of a command, its messages, and how often it used files of the folder, if it was not killed."""

    code: int
    stderr: str
    uses: int = 0

    @property
    def problem(self) -> str:
        """A description of an error, or ""."""
        return f"exit code {self.code}: {self.stderr[-300:]}" if self.code or "Traceback" in self.stderr else ""


def run(words: Sequence[object], folder: Path, kill_at: int = NEVER) -> Ended:
    """Run a command, and kill it before it uses a file of the folder for the `kill_at`th time."""
    process = captioner(folder, kill_at, *words, code=KILLED, stdout=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=MOST_SECONDS)
    left = map(int, re.findall(r"uses left: (\d+)", stdout))  # of each rank
    return Ended(process.returncode, stderr, NEVER - min(left, default=NEVER))


def run_and_kill(words: Sequence[object], folder: Path, kill_at: int) -> Ended:
    """Run a command, kill it once, and repeat it; return the end of the repetition, or an error before the kill."""
    killed = run(words, folder, kill_at)
    if killed.code not in (0, *KILLED_CODES) or "Traceback" in killed.stderr:
        return killed
    return run(words, folder)


class Inputs(NamedTuple):
    """What the commands that write files read."""

    album: Path
    features: Path
    run: Path


COMMANDS: Mapping[str, str] = {
    "prepare": "prepare {album}/captions.csv --output {folder}/out.h5 --encoder scenes",
    "prepare --features": "prepare {album}/captions.csv --output {folder}/out.h5 --features {features}",
    "sample --write txt": "sample {run} {folder} --write txt",
    "sample --write txt --overwrite": "sample {run} {folder} --write txt --overwrite",
}
WIDTH = 8
"""The width of features."""


def make_inputs(folder: Path) -> Inputs:
    inputs = Inputs(make_album(folder / "album"), folder / "features.h5", make_run(folder / "run"))
    with h5py.File(inputs.features, "w") as file:
        count = len(list(inputs.album.glob("*.png")))
        file["features"] = np.random.default_rng(0).standard_normal((count, WIDTH)).astype("f4")
    return inputs


def make_command(name: str, folder: Path, inputs: Inputs) -> list[str]:
    """Make the folder that a command writes into, empty or with photographs, and return its words."""
    folder.mkdir()
    if name.startswith("sample"):
        for photo in sorted(inputs.album.glob("*.png"))[:3]:
            shutil.copy(photo, folder)
            if "--overwrite" in name:
                (folder / photo.with_suffix(".txt").name).write_text("old")
    return COMMANDS[name].format(folder=folder, **inputs._asdict()).split()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class Completed(NamedTuple):
    """The files after a command that was not killed, and how often it used them."""

    files: Mapping[str, bytes]
    uses: int


def complete(name: str, folder: Path, inputs: Inputs) -> Completed:
    ended = run(make_command(name, folder, inputs), folder)
    if ended.problem:
        raise RuntimeError(ended.problem)
    files = contents(folder)
    shutil.rmtree(folder)
    return Completed(files, ended.uses)


def kill_and_complete(name: str, use: int, folder: Path, inputs: Inputs, completed: Completed) -> Outcome:
    """Kill a command before its use number `use` of a file, repeat it, and compare the files with the expected ones."""
    ended = run_and_kill(make_command(name, folder, inputs), folder, use)
    # a data set that is complete is not replaced: exit code 2
    if ended.code != 2 and ended.problem:
        return Outcome("wrong", f"{name}, use {use}: {ended.problem}")
    files, expected = contents(folder), completed.files
    different = sorted(name for name in files.keys() | expected.keys() if files.get(name) != expected.get(name))
    shutil.rmtree(folder)
    if different:
        return Outcome("wrong", f"{name}, use {use}: differs: {different}; {ended.stderr[-200:]}")
    return Outcome("completed")


def measure_leftovers(session: Session) -> Iterator[Row]:
    folder = session.folder("leftovers")
    inputs = make_inputs(folder)
    completed = {name: complete(name, folder / "completed", inputs) for name in COMMANDS}
    trials = [(name, use) for name in COMMANDS for use in range(1, completed[name].uses + 1)]

    def trial(number: int, rng: np.random.Generator) -> Outcome:
        name, use = trials[number % len(trials)]
        return kill_and_complete(name, use, folder / f"{number}", inputs, completed[name])

    yield session.run_in_threads(
        "SIGKILL while prepare or sample writes files",
        "the same command completes, and leaves no temporary file",
        trial,
        len(trials),
    )


FEATURES: Mapping[str, Sequence[str]] = {
    "attention": ("model.attention=adaptive", "model.attention_dim=4"),
    "SCST": ("train.objective=self_critical",),
    "EMA": ("train.ema_decay=0.9",),
    "mpi": (),
}
"""Features of a training, and their options."""
PAIRS = list(combinations(FEATURES, 2))
MODEL = (
    *(f"{name}={value}" for name, value in TINY.items()), "threads=1", "model.hidden_dim=8", "model.wordvec_dim=8",
    "model.dropout_hidden=0.3", "train.batch_size=16", "decode.max_length=8",
)  # fmt: skip
LENGTH = ("train.epochs=2", "train.save_every=1", "train.log_every=1", "train.learning_rate=0.01")
RUNS = 5
"""Killed runs of each pair; each of their commands is killed once."""


def make_starts(folder: Path) -> dict[str, Path]:
    """Train the runs that self-critical training starts from, with and without attention."""
    options = {"plain": (), "attention": FEATURES["attention"]}
    return {name: make_run(folder / name, *MODEL, *more) for name, more in options.items()}


def commands(pair: Sequence[str], folder: Path, starts: Mapping[str, Path]) -> list[list[object]]:
    """Return the commands that train a run with a pair of features: a new run, and the same for one epoch more."""
    options = [*MODEL, *LENGTH, *FEATURES[pair[0]], *FEATURES[pair[1]]]
    if "SCST" in pair:
        options.append(f"train.init_from={starts['attention' if 'attention' in pair else 'plain']}")
    mpi = ["--mpi"] * ("mpi" in pair)
    return [
        ["train", "--resume-or-start", folder, *settings(options), *mpi],
        ["train", "--resume", folder, "--set=train.epochs=3", *mpi],
    ]


def kill_and_repeat(
    pair: Sequence[str], folder: Path, starts: Mapping[str, Path], rng: np.random.Generator
) -> list[Outcome]:
    """Train with a pair of features, once without kills, then `RUNS` times with one kill of each command."""
    whole, killed, uses = folder / "whole", folder / "killed", []
    for words in commands(pair, whole, starts):
        ended = run(words, whole)
        if ended.problem:
            return [Outcome("wrong", f"{pair}: not killed: {ended.problem}")]
        uses.append(ended.uses)
    outcomes = []
    for _ in range(RUNS):
        problem, kills = "", [int(rng.integers(1, count + 1)) for count in uses]
        for words, kill_at in zip(commands(pair, killed, starts), kills, strict=True):
            problem = problem or run_and_kill(words, killed, kill_at).problem
        problem = problem or folder_difference(killed, whole)
        shutil.rmtree(killed)
        outcomes.append(Outcome("wrong", f"{pair} at {kills}: {problem}") if problem else Outcome("bit-identical"))
    return outcomes


def folder_difference(folder: Path, whole: Path) -> str:
    """Compare two run folders; return the first difference or ""."""
    names, expected = ({path.name for path in run.iterdir()} for run in (folder, whole))
    return f"files: {sorted(names ^ expected)}" if names != expected else compare(RunFolder(folder), RunFolder(whole))


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("repeated")
    starts = make_starts(folder / "starts")

    def trial(number: int, rng: np.random.Generator) -> list[Outcome]:
        return kill_and_repeat(PAIRS[number % len(PAIRS)], folder / f"{number}", starts, rng)

    yield session.run_in_threads(
        f"SIGKILL of train with each pair of {', '.join(FEATURES)}",
        "the same command again ends bit-identical, with the same files",
        trial,
        RUNS * len(PAIRS),
    )
