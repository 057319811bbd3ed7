"""captioner import: make a checkpoint of exported parameters."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output as out
from captioner.cli.options import PATH


@click.command(
    "import",
    epilog="""\b
Examples:
  captioner import scenes.safetensors --output runs/imported
  captioner import scenes.safetensors --output imported.h5
""",
)
@click.argument("file", type=PATH, metavar="FILE")
@click.option(
    "--output",
    type=PATH,
    required=True,
    metavar="RUN_OR_CHECKPOINT",
    help="Write the checkpoint to this file, whose name ends in .h5, or into this new run folder.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing checkpoint.")
def import_(file: Path, output: Path, overwrite: bool) -> None:
    """Make a checkpoint of exported parameters.

    FILE is a safetensors file from `captioner export`, or one of another program with the same names, shapes and
    metadata. `sample` and `evaluate` use the checkpoint, and train.init_from trains it further. It contains no
    optimizer state, so it cannot be resumed.
    """
    from captioner.export.safetensors_file import import_safetensors

    out.result(import_safetensors(file, output, overwrite))
