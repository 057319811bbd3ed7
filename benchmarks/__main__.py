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
@click.option("--quick", is_flag=True, help="Smoke test with tiny sizes; the times mean nothing and are not saved.")
@click.option("--page", is_flag=True, help="Measure nothing; write the tables of docs/benchmarks.md again.")
@click.option("--output", type=click.Path(path_type=Path), help="Results file. [default: benchmarks/results-CPU.json]")
@click.option("--patience", default=Timer.patience, show_default=True, help="Seconds to wait for an idle machine.")
def main(only: tuple[str, ...], quick: bool, page: bool, output: Path | None, patience: float) -> None:
    """Compare captioner with PyTorch, and print the tables.

    Results are written into the file of this kind of CPU, where those of benchmarks that did not run are kept, and the
    tables of all CPUs into docs/benchmarks.md.
    """
    if page and (only or quick or output):
        raise click.UsageError("--page measures nothing; use it alone")
    if output and not output.parent.is_dir():
        raise click.BadParameter(f"{output.parent}: folder not found", param_hint="--output")
    if not page:
        session = Session(Timer(1, 0, 0), True, starts=1) if quick else Session(Timer(patience=patience))
        new = measure(session, [name for name in BENCHMARKS if name in (only or BENCHMARKS)])
        print(tables.render(new))
        if output:
            results.write(output, new)
        elif not quick:
            results.save(ROOT / "benchmarks", new)
    if page or not (output or quick):
        file = ROOT / tables.PAGE
        file.write_text(results.insert(file.read_text(), tables.render_page(results.load_all(ROOT / "benchmarks"))))


def measure(session: Session, names: list[str]) -> results.Results:
    """Run benchmarks; each result has the description of the machine and the notes about its measurement."""
    description = machine.describe()  # the parts of a session have the same
    new: results.Results = {"kind": machine.kind(machine.this_cpu()), "measured": {}}
    for name in names:
        before, disturbed = len(session.notes), session.timer.disturbed
        if not session.has_torch:
            session.note("PyTorch is not installed and was not measured")
        new[name] = BENCHMARKS[name](session)
        if session.timer.disturbed > disturbed:
            session.note(f"{session.timer.disturbed - disturbed} bursts were disturbed by other processes")
        new["measured"][name] = {"machine": description, "notes": session.notes[before:]}
    return new


if __name__ == "__main__":
    main()
