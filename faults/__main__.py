"""Command line of the fault-injection suite: `python -m faults`."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from benchmarks import machine
from benchmarks.results import insert
from faults import damaged, interrupted, resumed, sequences
from faults.session import ROOT, Results, Row, Session, has_escaped, render, table_line

PARTS: Mapping[str, Callable[[Session], Iterator[Row]]] = {
    "damaged": damaged.measure,
    "interrupted": interrupted.measure,
    "resumed": resumed.measure,
    "sequences": sequences.measure,
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
        for name, measure in PARTS.items():
            if name in (only or PARTS):
                for result in measure(session):
                    rows.append(result)
                    session.log("\n".join((table_line(result), *result["notes"])))
    results: Results = {
        "command": "make faults" if whole else " ".join(("python -m faults", *sys.argv[1:])),
        "share": share,
        "seed": seed,
        "machine": machine.describe(),
        "rows": rows,
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
