"""Shared state of a run of the suite, the outcomes of its trials, and their Markdown table."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypedDict

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
PATIENCE = 300.0
"""Maximum seconds of a trial."""
WORKERS = min(2, os.cpu_count() or 1)
ESCAPED = ("silent", "traceback", "hung", "messy", "wrong")
"""Outcomes that count as failures: changed content accepted (silent), an exception other than the expected error
(traceback), no result in time or a crash (hung), an error message that is not one printable line (messy), and any other
violation (wrong)."""
MOST_NOTES = 8


class Outcome(NamedTuple):
    """Outcome of one trial, with a note if it failed."""

    kind: str
    note: str = ""


class Row(TypedDict):
    """One kind of fault: required outcome, number of trials, outcome counts, and notes on failures."""

    fault: str
    must: str
    trials: int
    ended: dict[str, int]
    notes: list[str]


@dataclass
class Session:
    """One run of the suite: `share` of the full counts, in a scratch folder."""

    scratch: Path
    share: float = 1.0
    seed: int = SEED
    notes: list[str] = field(default_factory=list)

    def folder(self, name: str) -> Path:
        """A new folder in the scratch folder."""
        made = self.scratch / name
        made.mkdir()
        return made

    def run(self, fault: str, must: str, trial: Callable[[int], Outcome], full: int, patience: float = PATIENCE) -> Row:
        """Run numbered trials in worker processes; a crash or a hang is an outcome, and the last one."""
        count = max(1, round(full * self.share))
        numbers = [number * full // count for number in range(count)]
        outcomes: list[Outcome] = []
        attempt = partial(_attempt, trial, patience)
        with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
            try:
                outcomes.extend(pool.map(attempt, numbers))
            except BrokenProcessPool:
                outcomes.append(Outcome("hung", f"a worker process crashed, or a trial took {patience:g} s"))
        notes = [
            f"trial {number}: {outcome.kind}: {outcome.note}"[:400]
            for number, outcome in zip(numbers, outcomes, strict=False)
            if outcome.kind in ESCAPED
        ]
        ended = Counter(outcome.kind for outcome in outcomes)
        return Row(
            fault=fault, must=must, trials=len(outcomes), ended=dict(sorted(ended.items())), notes=notes[:MOST_NOTES]
        )

    def log(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Log a note, and repeat it below the table."""
        self.notes.append(text)
        self.log(text)


def _attempt(trial: Callable[[int], Outcome], patience: float, number: int) -> Outcome:
    faulthandler.dump_traceback_later(patience, exit=True)  # also ends a worker that hangs in C code
    try:
        return trial(number)
    except BaseException as error:  # also of a bug in the suite itself
        return Outcome("traceback", f"{type(error).__name__}: {error}")
    finally:
        faulthandler.cancel_dump_traceback_later()


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
    return any(row["notes"] for row in results["rows"])
