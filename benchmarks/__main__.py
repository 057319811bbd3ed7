"""python -m benchmarks"""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmarks import (
    decoding,
    epochs,
    features,
    growth,
    ideas,
    machine,
    memory,
    report,
    startup,
    steps,
    streaming,
    targets,
)
from benchmarks.session import ROOT, Session
from benchmarks.timing import Timer

BENCHMARKS = {
    "steps": steps.measure,
    "decoding": decoding.measure,
    "epochs": epochs.measure,
    "features": features.measure,
    "streaming": streaming.measure,
    "memory": memory.measure,
    "startup": startup.measure,
    "ideas": ideas.measure,
    "growth": growth.measure,
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(BENCHMARKS)), help="This benchmark; may be given again.")
@click.option("--quick", is_flag=True, help="Tiny sizes: proves that all of it runs, and measures nothing.")
@click.option("--output", type=click.Path(path_type=Path), help="[default: benchmarks/results.json for a whole run]")
@click.option("--flickr8k", type=click.Path(path_type=Path), default=Session.flickr8k, help="As in docs/data.md.")
@click.option("--patience", default=Timer.patience, show_default=True, help="Seconds to wait for other processes.")
def main(only: tuple[str, ...], quick: bool, output: Path | None, flickr8k: Path, patience: float) -> None:
    """Measure captioner beside its peers: as JSON, and as tables, which a whole run puts into README.md and docs."""
    session = Session(Timer(2, 0, 0) if quick else Timer(patience=patience), quick, flickr8k.absolute())
    whole = not (only or quick)
    if not session.has_torch:
        session.note("PyTorch is not installed, so it was not measured")
    chosen = [name for name in BENCHMARKS if name in (only or BENCHMARKS)]
    results: targets.Results = {name: BENCHMARKS[name](session) for name in chosen}
    if session.timer.disturbed:
        session.note(f"{session.timer.disturbed} bursts were disturbed by other processes")
    command = "make bench" if whole else " ".join(("python -m benchmarks", *(f"--only {name}" for name in only)))
    results |= {"command": command, "quick": quick, "machine": machine.describe(), "notes": session.notes}
    results["targets"] = targets.judge({} if quick else results)
    print(report.render(results))
    if output or whole:
        (output or ROOT / "benchmarks" / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if whole:
        for name, part in report.pages(results).items():
            page = ROOT / name
            page.write_text(report.insert(page.read_text(), part))


if __name__ == "__main__":
    main()
