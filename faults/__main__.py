"""Command line of the fault-injection suite: `python -m faults`."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.results import insert
from faults import damaged, disks, repeated, resumed, signals, versions
from faults.session import ROOT, Results, Row, Session, has_escaped, render, table_line

PARTS: Mapping[str, Callable[[Session], Iterator[Row]]] = {
    "damaged": damaged.measure,
    "killed": signals.measure_killed,
    "stopped": signals.measure_stopped,
    "leftovers": repeated.measure_leftovers,
    "repeated": repeated.measure,
    "resumed": resumed.measure,
    "disks": disks.measure,
    "versions": versions.measure,
}


@click.command()
@click.option(
    "--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Fraction of trials, 1 by default."
)
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Run only this part (repeatable).")
@click.option("--seed", type=int, default=Session.seed, show_default=True, help="Random seed of the faults.")
@click.option("--output", type=click.Path(path_type=Path), help="[default: faults/results.json for a full run]")
def main(share: float, only: tuple[str, ...], seed: int, output: Path | None) -> None:
    """Inject faults into captioner and report the failures; a full run writes docs/reliability.md."""
    whole = share == 1 and not only
    with tempfile.TemporaryDirectory(prefix="faults-") as scratch:
        session = Session(Path(scratch), share, seed)
        rows: list[Row] = []
        seconds: dict[str, float] = {}
        for name, measure in PARTS.items():
            if name in (only or PARTS):
                started = time.perf_counter()
                for result in measure(session):
                    rows.append(result)
                    session.log("\n".join((table_line(result), *result["notes"])))
                seconds[name] = round(time.perf_counter() - started, 1)
    results: Results = {
        "command": "make faults" if whole else " ".join(("python -m faults", *sys.argv[1:])),
        "share": share,
        "seed": seed,
        "machine": machine.describe(),
        "rows": rows,
        "seconds": seconds,
        "notes": session.notes,
    }
    print(render(results))
    if output or whole:
        (output or ROOT / "faults" / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if whole:
        page = ROOT / "docs" / "reliability.md"
        page.write_text(insert(page.read_text(), render(results), "faults"))
    sys.exit(1 if has_escaped(results) else 0)


if __name__ == "__main__":
    main()
