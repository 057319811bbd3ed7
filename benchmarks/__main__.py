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
from captioner.config.yaml_io import load
from captioner.preparation.load_corpus import build_corpus

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
@click.option(
    "--only", multiple=True, type=click.Choice(list(BENCHMARKS)), help="Run only this benchmark (repeatable)."
)
@click.option("--quick", is_flag=True, help="Smoke test with tiny sizes; the times mean nothing.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Results file. [default: benchmarks/results.json for a full run]"
)
@click.option(
    "--flickr8k",
    type=click.Path(path_type=Path),
    default=Session.flickr8k,
    help="Folder of Flickr8k, see docs/data.md.",
)
@click.option(
    "--patience", default=Timer.patience, show_default=True, help="Maximum seconds to wait for an idle machine."
)
def main(only: tuple[str, ...], quick: bool, output: Path | None, flickr8k: Path, patience: float) -> None:
    """Compare captioner with PyTorch; a full run writes benchmarks/results.json and docs/performance.md."""
    session = Session(Timer(1, 0, 0) if quick else Timer(patience=patience), quick, flickr8k.absolute())
    full = not (only or quick)
    if not session.has_torch:
        session.note("PyTorch is not installed and was not measured")
    chosen = [name for name in BENCHMARKS if name in (only or BENCHMARKS)]
    if "epochs" in chosen:
        _, config, options = epochs.configured(session)
        build_corpus(load(config, options))  # a wrong folder ends the run now, not after 15 minutes
    results: targets.Results = {name: BENCHMARKS[name](session) for name in chosen}
    if session.timer.disturbed:
        session.note(f"{session.timer.disturbed} bursts were disturbed by other processes")
    command = "make bench" if full else " ".join(("python -m benchmarks", *(f"--only {name}" for name in only)))
    results |= {"command": command, "quick": quick, "machine": machine.describe(), "notes": session.notes}
    results["targets"] = targets.check({} if quick else results)
    print(report.render(results))
    if output or full:
        (output or ROOT / "benchmarks" / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    if full:
        page = ROOT / report.PAGE
        page.write_text(report.insert(page.read_text(), report.render(results)))


if __name__ == "__main__":
    main()
