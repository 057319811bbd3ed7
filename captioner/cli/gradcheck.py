"""The check of all layers by `captioner gradcheck`, a command of `teaching`, which also grades files."""

from __future__ import annotations

from pathlib import Path

from captioner.cli import output
from captioner.config.overrides import Values


def check_layers(config_file: Path | None, overrides: Values, full: bool) -> int:
    """Print the gradient checks of every layer and of the configured model, and return the exit code."""
    from captioner.config.yaml_io import load
    from captioner.gradcheck.cases import gradient_cases
    from captioner.gradcheck.numeric import TOLERANCE, check_gradients

    config = load(config_file, overrides)
    output.warnings(config.ignored.values())
    rows = []
    output.result(f"{'layer':<25} {'gradient':<9} {'check':<10} relative error")
    cases = gradient_cases(config)
    for case, rng in cases:
        results = list(check_gradients(case, rng, full))
        for row in results:
            verdict = "PASS" if row.passed else f"FAIL{row.by_part()}"
            output.result(f"{row.case:<25} {row.array:<9} {row.check:<10} {row.error:<14.1e} {verdict}")
        if failed := [row.array for row in results if not row.passed]:
            output.result(f"FAIL: {len(failed)} of {len(results)} gradients of {case.name}: {', '.join(failed)}")
            if outer := [case.name for case, _ in cases]:
                output.result(f"not checked, after {case.name}: {'; '.join(outer)}")
            return 1
        rows += results
    worst = max(row.error for row in rows)
    output.result(f"PASS: {len(rows)} gradients, maximum relative error {worst:.1e} (tolerance {TOLERANCE:.0e})")
    return 0
