"""Shared state of a run of the suite, and the rows that its parts yield."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from faults.watch import Tally

ROOT = Path(__file__).parents[1]
SEED = 20_261_125
SMALL = (
    "data.scenes.train=40",
    "data.scenes.val=10",
    "data.scenes.test=5",
    "data.scenes.heldout=5",
    "model.hidden_dim=16",
    "model.wordvec_dim=16",
    "train.batch_size=16",
)
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


class Row(TypedDict):
    """One kind of fault: required outcome, number of trials, outcome counts, and notes on failures."""

    fault: str
    must: str
    trials: int
    ended: dict[str, int]
    escaped: int
    notes: list[str]


class Figure(TypedDict):
    """One measurement and its bound."""

    what: str
    got: float
    most: float
    unit: str


@dataclass
class Session:
    """One run of the suite: `share` of the full counts, in a scratch folder."""

    scratch: Path
    share: float = 1.0
    seed: int = SEED
    notes: list[str] = field(default_factory=list)

    def count(self, full: int) -> int:
        return max(1, round(full * self.share))

    def folder(self, name: str) -> Path:
        """A new folder in the scratch folder."""
        made = self.scratch / name
        made.mkdir()
        return made

    def log(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Log a note, and repeat it below the table."""
        self.notes.append(text)
        self.log(text)


def row(fault: str, must: str, tally: Tally) -> Row:
    return {
        "fault": fault,
        "must": must,
        "trials": tally.counts.total(),
        "ended": dict(sorted(tally.counts.items())),
        "escaped": tally.escaped,
        "notes": list(tally.notes),
    }


def captioner(*words: object, code: str = "", **options: Any) -> subprocess.Popen[str]:
    """Start the command line, or Python code, in a subprocess; stderr is a pipe."""
    start = ("-c", code) if code else ("-m", "captioner")
    pipes: Mapping[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [sys.executable, *start, *map(str, words)], **{**pipes, "env": ENVIRONMENT, "errors": "replace", **options}
    )


def settings(overrides: Iterable[str]) -> list[str]:
    """Convert overrides to command-line arguments."""
    return [f"--set={override}" for override in overrides]
