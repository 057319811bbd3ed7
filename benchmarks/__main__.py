"""python -m benchmarks"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks import decoding, machine, results, steps, tables
from benchmarks.session import ROOT, Session
from benchmarks.timing import Timer

BENCHMARKS = {
    "steps": steps.measure,
    "decoding": decoding.measure,
    "transformer": steps.measure_transformers,
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*BENCHMARKS]), help="Run only this benchmark (repeatable).")
@click.option("--quick", is_flag=True, help="Smoke test with tiny sizes; the times mean nothing.")
@click.option("--output", type=click.Path(path_type=Path), help="Results file, such as benchmarks/results-CPU.json.")
@click.option("--patience", default=Timer.patience, show_default=True, help="Seconds to wait for an idle machine.")
def main(only: tuple[str, ...], quick: bool, output: Path | None, patience: float) -> None:
    """Compare captioner with PyTorch, and print the tables.

    docs/performance.md has a row for each file benchmarks/results-*.json; such an --output updates it.
    """
    if output and not output.parent.is_dir():
        raise click.BadParameter(f"{output.parent}: folder not found", param_hint="--output")
    session = Session(Timer(1, 0, 0), True, starts=1) if quick else Session(Timer(patience=patience))
    new = measure(session, [name for name in BENCHMARKS if name in (only or BENCHMARKS)])
    print(tables.render(new))
    if output:
        results.write(output, new)
    if output and output.parent.absolute() == ROOT / "benchmarks":
        page = ROOT / tables.PAGE
        page.write_text(results.insert(page.read_text(), tables.render_page(results.load_all(ROOT / "benchmarks"))))


def measure(session: Session, names: list[str]) -> results.Results:
    """Run benchmarks; the results have the description of the machine and notes about the measurement."""
    new: results.Results = {"machine": machine.describe(), "notes": session.notes}
    if not session.has_torch:
        session.note("PyTorch is not installed and was not measured")
    for name in names:
        disturbed = session.timer.disturbed
        new[name] = BENCHMARKS[name](session)
        if session.timer.disturbed > disturbed:
            session.note(f"{name}: {session.timer.disturbed - disturbed} bursts were disturbed by other processes")
    return new


if __name__ == "__main__":
    main()
