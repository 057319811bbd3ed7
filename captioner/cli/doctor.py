"""captioner doctor: check the installation and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from captioner.cli import output

if TYPE_CHECKING:
    from captioner.environment.checks import Finding


@click.command(
    epilog="""\b
Examples:
  captioner doctor
  captioner doctor --json
"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(as_json: bool) -> int:
    """Check the installation and describe the machine.

    Each line contains a status, the name of the check and what was found. The status `missing` marks optional packages
    that are not installed; `error` marks what makes commands fail, and the exit code is then 1.
    """
    from captioner.environment.checks import examine

    findings = dict(examine())
    failed = [name for name, finding in findings.items() if finding.status == "error"]
    with output.ignoring_a_closed_pipe():
        _print(findings, not failed, as_json)
    return 1 if failed else 0


def _print(findings: Mapping[str, Finding], is_ok: bool, as_json: bool) -> None:
    if as_json:
        output.record({"ok": is_ok, "checks": {name: finding._asdict() for name, finding in findings.items()}})
        return
    width = max(map(len, findings))
    for name, finding in findings.items():
        remedy = f"; try {finding.remedy}" if finding.remedy else ""
        output.result(f"{finding.status:<8} {name.replace('_', ' '):<{width}}  {finding.value}{remedy}")
