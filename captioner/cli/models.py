"""captioner models: list the installed models."""

from __future__ import annotations

from dataclasses import asdict

import click

from captioner.cli import output
from captioner.errors import CheckpointError


@click.command(
    epilog="""\b
Examples:
  captioner models
  captioner models --json
"""
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
def models(as_json: bool) -> int:
    """List the installed models.

    Each line contains the name, the version, the image encoder, the size of the weights and a description, separated by
    tabs. `captioner package` writes a model as a Python package, which pip can install. A damaged package is reported,
    and the exit code is 1.
    """
    from captioner.inference.installed_models import describe_installed
    from captioner.inference.package_info import WEIGHTS

    code, listed = 0, 0
    for found in describe_installed():
        if isinstance(found, CheckpointError):
            output.problem(found)
            code = 1
            continue
        name, folder, info = found
        listed += 1
        file = folder / WEIGHTS
        size = file.stat().st_size if file.is_file() else 0
        if as_json:
            output.record({**asdict(info), "size": size})
        else:
            output.result(name, info.version, info.encoder, f"{size / 1e6:.1f} MB", info.description)
    if not listed and not code:
        output.note("no models are installed; captioner package writes one")
    return code
