"""Shared state of a run of the suite, the rows that its parts yield, and their Markdown table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypedDict

from faults import watch
from faults.watch import ESCAPED, Outcome, Tally

ROOT = Path(__file__).parents[1]
SEED = 20_261_125
SMALL = (
    "data.scenes.train=40",
    "data.scenes.val=10",
    "data.scenes.test=5",
    "data.scenes.heldout=5",
    "model.hidden_dim=16",
    "model.wordvec_dim=16",
)
TINY = (*SMALL, "train.batch_size=16")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or "mpiexec"
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


class Row(TypedDict):
    """One kind of fault: required outcome, number of trials, outcome counts, and notes on failures."""

    fault: str
    must: str
    trials: int
    ended: dict[str, int]
    escaped: int
    notes: list[str]


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

    def run(self, fault: str, must: str, trial: Callable[[int], Outcome], full: int) -> Row:
        """Run trials in worker processes, as `watch.run`."""
        return row(fault, must, watch.run(trial, self.count(full)))

    def run_in_threads(self, fault: str, must: str, trial: watch.SeededTrial, full: int, seed: int = 0) -> Row:
        """Run trials that start processes, as `watch.run_in_threads`."""
        return row(fault, must, watch.run_in_threads(trial, self.count(full), self.seed + seed))

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
    """Start the command line, or Python code, in a subprocess, or as two ranks with --mpi; stderr is a pipe."""
    launcher = (MPIEXEC, "-n", "2") if "--mpi" in words else ()
    start = ("-c", code) if code else ("-m", "captioner")
    pipes: Mapping[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [*launcher, sys.executable, *start, *map(str, words)],
        **{**pipes, "env": ENVIRONMENT, "errors": "replace", **options},
    )


def settings(overrides: Iterable[str]) -> list[str]:
    """Convert overrides to command-line arguments."""
    return [f"--set={override}" for override in overrides]


Results: TypeAlias = dict[str, Any]


def table_line(row: Row) -> str:
    """One row of the table."""
    outcomes, failures = (
        [f"{count:,} {kind}" for kind, count in row["ended"].items() if (kind in ESCAPED) == is_failure]
        for is_failure in (False, True)
    )
    failed = ", ".join(f"**{failure}**" for failure in failures) or "0"
    return f"| {row['fault']} | {row['must']} | {row['trials']:,} | {', '.join(outcomes)} | {failed} |"


def render(results: Results) -> str:
    """Return the command, the machine, the table and the failures."""
    machine = " · ".join(f"{name} {value}" for name, value in results["machine"].items() if name != "PyTorch")
    table = [
        "| fault | required outcome | trials | outcomes | failures |",
        "|---|---|---|---|---|",
        *map(table_line, results["rows"]),
    ]
    notes = [f"Note: {note}." for note in results["notes"]]
    notes += [f"Escaped: {row['fault']}: {note}" for row in results["rows"] for note in row["notes"]]
    return "\n\n".join((f"`{results['command']}` · seed {results['seed']} · {machine}", "\n".join(table), *notes))


def has_escaped(results: Results) -> bool:
    """Return whether any trial failed."""
    return any(row["escaped"] for row in results["rows"])
