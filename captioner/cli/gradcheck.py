"""captioner gradcheck"""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.options import config_options


@click.command(
    epilog="""\b
Examples:
  captioner gradcheck
  captioner gradcheck -c configs/scenes-rnn.yaml -o model.dropout_hidden=0.5 --full
"""
)
@config_options
@click.option("--full", is_flag=True, help="Check every element, not a random direction only.")
def gradcheck(config_file: Path | None, overrides: tuple[str, ...], full: bool) -> int:
    """Prove the gradients of every layer and of the configured model.

    Each analytic gradient is compared in float64 with central differences, along a random direction; where that
    fails, or with --full, element by element. The sizes are a small slice of the configured ones.
    The exit code is 1 when a gradient fails.
    """
    from captioner.config import yaml_io as configio
    from captioner.gradcheck.check import gradcheck as use_case
    from captioner.gradcheck.numeric import TOLERANCE

    config = configio.load(config_file, overrides)
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
    output.result(f"PASS: {len(rows)} gradients, worst relative error {worst:.1e} (at most {TOLERANCE:.0e})")
    return 0
