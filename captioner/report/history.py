"""Read the measurements of a run: history.jsonl and speed.jsonl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captioner.training.run_folder import RunFolder, damaged_lines, records

LARGEST = 1e30
"""Numbers beyond it cannot be drawn."""
Points = list[tuple[float, float]]
"""Pairs of a step and a value, by ascending step."""


@dataclass(frozen=True)
class History:
    """The records of a run by kind, in file order: logged steps, validations, warnings and speeds.

    `problem` names the damaged lines of the history, if there are any.
    """

    steps: list[dict[str, Any]]
    validations: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    speeds: list[dict[str, Any]]
    problem: str = ""

    @property
    def last_step(self) -> int:
        """The last step of any record, 0 without records."""
        kinds = self.steps, self.validations, self.warnings, self.speeds
        return max((int(record["step"]) for records in kinds for record in records), default=0)

    @property
    def last_epoch(self) -> int:
        """The epoch of the last logged step or validation, 0 without records."""
        epochs = (record.get("epoch") for record in (*self.steps[-1:], *self.validations[-1:]))
        return max((epoch for epoch in epochs if isinstance(epoch, int)), default=0)


def read_history(folder: Path) -> History:
    """Read the measurements of a run folder. Missing files count as empty, and damaged lines are left out.

    A run that is being trained may end with half a line.
    """
    run = RunFolder(folder)
    kinds: dict[str, list[dict[str, Any]]] = {"step": [], "validation": [], "warning": []}
    lines = list(records(run.history))
    for record in filter(None, lines):
        kinds.get(str(record.get("kind")), []).append(record)
    problem, speeds = "".join(damaged_lines(run.history.name, lines)), list(filter(None, records(run.speed)))
    return History(kinds["step"], kinds["validation"], kinds["warning"], speeds, problem)


def points(records: list[dict[str, Any]], *path: str) -> Points:
    """Return the numbers at a path of keys, such as `("scores", "cider_d")`; the last record of a step counts."""
    values: dict[float, float] = {}
    for record in records:
        value: Any = record
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if _is_number(value):
            values[float(record["step"])] = float(value)
    return sorted(values.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST
