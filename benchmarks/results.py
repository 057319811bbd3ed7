"""The files of results, one for each kind of CPU: benchmarks/results-<kind>.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

Results: TypeAlias = dict[str, Any]
"""`kind` of CPU, `measured` with machine and notes of each benchmark, and the results of each benchmark by name."""


def over(race: Results, ours: str, theirs: str) -> float:
    """Return the ratio of two median times of one race."""
    return float(race[ours]["median"] / race[theirs]["median"])


def with_best(race: Results) -> Results:
    """Add the fastest float32 variant of PyTorch, if any was measured, as `best`."""
    variants = [took for name, took in race.items() if name.startswith("torch")]
    return race | {"best": min(variants, key=lambda took: took["median"])} if variants else race


def path_of(folder: Path, kind: str) -> Path:
    """Return the file of a kind of CPU."""
    return folder / f"results-{kind}.json"


def load_all(folder: Path) -> list[Results]:
    """Load the results of all CPUs, measured last first."""
    found: list[Results] = [json.loads(path.read_text()) for path in sorted(folder.glob("results-*.json"))]
    return sorted(found, key=measured_on, reverse=True)


def measured_on(results: Results) -> str:
    """Return the date of the last measurement."""
    return max(part["machine"]["on"] for part in results["measured"].values())


def save(folder: Path, new: Results) -> None:
    """Write new results into the file of their CPU; results of other benchmarks in this file are kept."""
    path = path_of(folder, new["kind"])
    old: Results = json.loads(path.read_text()) if path.exists() else {}
    measured = {**old.get("measured", {}), **new["measured"]}
    write(path, old | new | {"measured": measured})


def write(path: Path, results: Results) -> None:
    path.write_text(json.dumps(results, indent=1) + "\n")
