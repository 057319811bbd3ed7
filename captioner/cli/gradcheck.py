"""captioner gradcheck: compare analytic with numeric gradients."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.options import config_options


@click.command(
    epilog="""\b
Examples:
  captioner gradcheck
  captioner gradcheck -c scenes-rnn -o model.dropout_hidden=0.5 --full
"""
)
@config_options
@click.option("--full", is_flag=True, help="Compare every element instead of one random direction.")
def gradcheck(config_file: Path | None, overrides: tuple[str, ...], full: bool) -> int:
    """Check the gradients of every layer and of the configured model.

    Each analytic gradient is compared with central differences along a random direction, in float64. If they differ,
    or with --full, every element is compared. The layers and the model are scaled down. The exit code is 1 if a
    gradient is wrong.
    """
    from captioner.config.yaml_io import load
    from captioner.gradcheck.check import gradcheck as use_case
    from captioner.gradcheck.numeric import TOLERANCE

    config = load(config_file, overrides)
    rows = []
    output.result(f"{'layer':<25} {'gradient':<9} {'check':<10} relative error")
    for row in use_case(config, full):
        verdict = "PASS" if row.passed else "FAIL"
        output.result(f"{row.case:<25} {row.array:<9} {row.check:<10} {row.error:<14.1e} {verdict}")
        rows.append(row)
    failed = [f"{row.case} {row.array}" for row in rows if not row.passed]
    worst = max(row.error for row in rows)
    if failed:
        output.result(f"FAIL: {len(failed)} of {len(rows)} gradients are wrong: {', '.join(failed)}")
        return 1
    output.result(f"PASS: {len(rows)} gradients, maximum relative error {worst:.1e} (tolerance {TOLERANCE:.0e})")
    return 0
