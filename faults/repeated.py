"""SIGKILL while a run is trained with pairs of features: repeating the command ends as without a kill."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captioner.training.run_folder import RunFolder
from faults.materials import make_run
from faults.processes import MOST_SECONDS
from faults.resumed import TINY, compare
from faults.session import Row, Session, captioner, settings
from faults.signals import KILLED, KILLED_CODES
from faults.watch import Outcome

FEATURES: Mapping[str, Sequence[str]] = {
    "attention": (),
    "SCST": ("train.objective=self_critical",),
    "EMA": ("train.ema_decay=0.9",),
    "distillation": (),
    "mpi": (),
}
"""Features of a training, and the options of some."""
PAIRS = list(combinations(FEATURES, 2))
MODEL = (
    *(f"{name}={value}" for name, value in TINY.items()), "threads=1", "model.hidden_dim=8", "model.wordvec_dim=8",
    "model.dropout_hidden=0.3", "train.batch_size=16", "decode.max_length=8",
)  # fmt: skip
ATTENTION = ("model.attention=adaptive", "model.attention_dim=4")
LENGTH = ("train.epochs=2", "train.save_every=1", "train.log_every=1", "train.learning_rate=0.01")
TEACHING = "--teacher-set=decode.beam_width=3"
RUNS = 2
"""Killed runs of each pair; each of their commands is killed once."""
NEVER = 1_000_000


class Ended(NamedTuple):
    """The exit code of a command, its messages, and how often it used files of the run folder, if it was not to be
    killed."""

    code: int
    stderr: str
    uses: int


def run(words: Sequence[object], folder: Path, kill_at: int = NEVER) -> Ended:
    """Run a command, and kill it before it uses a file of the folder for the `kill_at`th time."""
    process = captioner(folder, kill_at, *words, code=KILLED, stdout=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=MOST_SECONDS)
    left = map(int, re.findall(r"\d{6}", stdout))  # of each rank; they may print on one line
    return Ended(process.returncode, stderr, NEVER - min(left, default=NEVER))


class Starts:
    """The runs that self-critical training and distillation start from, with and without attention."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.student = cache(self._student)
        for name, options in (("plain", ()), ("attention", ATTENTION)):
            make_run(folder / name, *MODEL, *options)

    def _student(self) -> Path:
        student = self.folder / "student"
        ended = run(["distill", self.folder / "plain", "--run", student, TEACHING, *settings(LENGTH)], student)
        if ended.code:
            raise RuntimeError(ended.stderr)
        return student


def commands(pair: Sequence[str], folder: Path, starts: Starts) -> list[list[object]]:
    """Return the commands that train a run with a pair of features, one after the other."""
    attention = "attention" in pair
    start = starts.folder / ("attention" if attention else "plain")
    options = settings((*LENGTH, *FEATURES[pair[0]], *FEATURES[pair[1]]))
    words = ["--mpi"] * ("mpi" in pair)
    resumed = ["train", "--resume", folder, "--set=train.epochs=3", *words]
    if "distillation" in pair and "SCST" not in pair:
        distill = ["distill", start, "--run", folder, TEACHING, *options, *["--mpi"] * ("mpi" in pair)]
        return [distill, resumed]
    if "SCST" in pair:
        start = starts.student() if "distillation" in pair else start
        options += settings([f"train.init_from={start}"])
    model = settings((*MODEL, *(ATTENTION if attention else ())))
    return [["train", "--resume-or-start", folder, *model, *options, *words], resumed]


def finish(words: Sequence[object], folder: Path, kill_at: int = 0) -> Ended:
    """Run a command until it ends; with `kill_at`, kill it once, and repeat it."""
    if kill_at:
        killed = run(words, folder, kill_at)
        if killed.code not in (0, *KILLED_CODES) or "Traceback" in killed.stderr:
            return killed
    ended = run(words, folder)
    if ended.code == 2 and "; continue it with --resume" in ended.stderr:  # `distill`, once the student is trained
        ended = run(["train", "--resume", folder, *["--mpi"] * ("--mpi" in words)], folder)
    return ended


def kill_and_repeat(pair: Sequence[str], folder: Path, starts: Starts, rng: np.random.Generator) -> list[Outcome]:
    """Train with a pair of features, once without kills, then `RUNS` times with one kill of each command."""
    whole, killed, uses = folder / "whole", folder / "killed", []
    for words in commands(pair, whole, starts):
        ended = finish(words, whole)
        if ended.code:
            return [Outcome("wrong", f"{pair}: not killed: exit code {ended.code}: {ended.stderr[-300:]}")]
        uses.append(ended.uses)
    outcomes = []
    for _ in range(RUNS):
        problem, kills = "", [int(rng.integers(1, count + 1)) for count in uses]
        for words, kill_at in zip(commands(pair, killed, starts), kills, strict=True):
            ended = finish(words, killed, kill_at)
            if ended.code or "Traceback" in ended.stderr:
                problem = problem or f"exit code {ended.code}: {ended.stderr[-300:]}"
        problem = problem or folder_difference(killed, whole)
        shutil.rmtree(killed)
        outcomes.append(Outcome("wrong", f"{pair} at {kills}: {problem}") if problem else Outcome("bit-identical"))
    return outcomes


def folder_difference(folder: Path, whole: Path) -> str:
    """Compare two run folders; return the first difference or ""."""
    names, expected = ({path.name for path in run.iterdir()} for run in (folder, whole))
    if names != expected:
        return f"files: {sorted(names ^ expected)}"
    runs = RunFolder(folder), RunFolder(whole)
    if runs[0].captions.exists() and runs[0].captions.read_bytes() != runs[1].captions.read_bytes():
        return "captions.h5 differs"
    return compare(*runs)


def measure(session: Session) -> Iterator[Row]:
    folder = session.folder("repeated")
    starts = Starts(folder / "starts")
    starts.student()

    def trial(number: int, rng: np.random.Generator) -> list[Outcome]:
        return kill_and_repeat(PAIRS[number % len(PAIRS)], folder / f"{number}", starts, rng)

    yield session.run_in_threads(
        "SIGKILL of train or distill with each pair of attention, SCST, EMA, distillation, MPI",
        "the same command again ends bit-identical, with the same files",
        trial,
        RUNS * len(PAIRS),
    )
