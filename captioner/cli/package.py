"""captioner package: write a model as a Python package."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.card_options import build_card_options, card_options
from captioner.cli.completion import complete_run
from captioner.cli.options import PATH, example_override_option
from captioner.extras import pip_command


@click.command(
    epilog="""\b
Examples:
  captioner package runs/scenes --output models/scenes
  captioner package runs/birds --output birds --name birds --version 1.1.0 --license cc-by-4.0 -o decode.beam_width=5
"""
)
@click.argument("run", type=PATH, metavar="RUN_OR_CHECKPOINT", shell_complete=complete_run)
@click.option(
    "--output", "folder", type=PATH, required=True, metavar="FOLDER", help="Folder of the package, a new or empty one."
)
@click.option("--name", metavar="NAME", help="Name of the model.  [default: that of the run folder]")
@click.option("--version", default="1.0.0", show_default=True, metavar="V", help="Version of the package.")
@click.option(
    "--encoder",
    metavar="RECIPE",
    help="Image encoder of the training images, if the data set of the run does not name it.",
)
@card_options
@click.option("--overwrite", is_flag=True, help="Replace an existing package of the same model.")
@example_override_option("decode.beam_width=5")
def package(
    run: Path,
    folder: Path,
    name: str | None,
    version: str,
    encoder: str | None,
    overwrite: bool,
    overrides: tuple[str, ...],
    **options: str | Path | None,
) -> None:
    """Write a model as a Python package.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file or a model.

    The package contains the weights in float16 with a checksum, the vocabulary, the options, and the model card
    (`captioner card`). It needs neither the training data nor the run. Consensus re-ranking needs the training
    captions, so decode.consensus is set to 0. Once pip has installed FOLDER, the commands accept NAME instead of a run.
    """
    from captioner.packaging.package import package as write

    written = write(run, folder, build_card_options(options), name, version, overrides, overwrite, encoder)
    output.warnings(written.notes)
    info = written.info
    output.result(f"{folder}: {info.name} {info.version}, {info.parameters:,} parameters, {written.size / 1e6:.1f} MB")
    output.note(f"try: {pip_command(str(folder))} && captioner sample {info.name} photo.jpg")
