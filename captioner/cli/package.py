"""captioner package, card, models and export: models as Python packages, their cards, and files of other formats."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, Command, example_override_option, examples, run_argument
from captioner.errors import CheckpointError, UsageError, pip_command

if TYPE_CHECKING:
    from captioner.export.card import CardOptions

CARD_OPTIONS = (
    click.option(
        "--scores", type=PATH, metavar="FILE",
        help="Scores of the model: the output of `captioner evaluate --json`, with --worst also examples of failures.",
    ),
    click.option(
        "--made-with", type=PATH, metavar="FILE",
        help="Text file with the commands that made the model, which the card contains.",
    ),
    click.option("--dataset", metavar="TEXT", help="Name of the training data set, such as flickr8k."),
    click.option("--data-terms", metavar="TEXT", help="Terms of the training data: license, source, restrictions."),
    click.option("--license", metavar="ID", help="License of the model, such as cc-by-4.0.  [default: unknown]"),
    click.option("--language", metavar="CODE", help="Language of the captions.  [default: en]"),
)  # fmt: skip


def card_options(command: Command) -> Command:
    """Add the options of model cards; their values are arguments of the same names, None if not given."""
    for option in reversed(CARD_OPTIONS):
        command = option(command)
    return command


def _build_card_options(values: dict[str, str | Path | None]) -> CardOptions:
    """Build the options of a card; blank texts count as not given."""
    from captioner.export.card import CardOptions

    stated: dict[str, Any] = {name: value for name, value in values.items() if str(value or "").strip()}
    return CardOptions(**stated)


@click.command(
    epilog=examples(
        "package runs/scenes --output models/scenes",
        "package runs/birds --output birds --name birds --version 1.1.0 --license cc-by-4.0 -o decode.beam_width=5",
    )
)
@run_argument
@click.option(
    "--output", "folder", type=PATH, required=True, metavar="FOLDER", help="Folder of the package, a new or empty one."
)
@click.option("--name", metavar="NAME", help="Name of the model.  [default: that of FOLDER]")
@click.option("--version", default="1.0.0", metavar="V", help="Version of the package.")
@click.option(
    "--encoder", metavar="RECIPE",
    help="Image encoder of the training images, if the data set of the run does not name it.",
)  # fmt: skip
@card_options
@click.option("--overwrite", is_flag=True, help="Replace an existing package of the same model.")
@example_override_option("decode.beam_width=5")
def package(
    run: Path, folder: Path, name: str | None, version: str, encoder: str | None, overwrite: bool,
    overrides: tuple[str, ...], **options: str | Path | None,
) -> None:  # fmt: skip
    """Write a model as a Python package.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file or a model.

    The package contains the weights in float16 with a checksum, the vocabulary, the options, and the model card
    (`captioner card`). It needs neither the training data nor the run. Consensus re-ranking needs the training
    captions, so decode.consensus is set to 0. Once pip has installed FOLDER, the commands accept NAME instead of a run.
    """
    from captioner.export.package import write_package

    of_card = _build_card_options(options)
    written = write_package(run, folder, of_card, name, version, overrides, overwrite, encoder)
    output.warnings(written.notes)
    info = written.info
    output.result(f"{folder}: {info.name} {info.version}, {info.parameters:,} parameters, {written.size / 1e6:.1f} MB")
    output.note(f"try: {pip_command(str(folder))} && captioner sample {info.name} photo.jpg")


@click.command(epilog=examples("card runs/scenes", 'card runs/scenes --dataset "generated scenes" --license mit'))
@run_argument
@card_options
def card(run: Path, **options: str | Path | None) -> None:
    """Print a model card.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file, or the name or the folder of a
    model package, whose card is printed as it was packaged.

    The card is Markdown with the front matter of Hugging Face. It describes the model, its training data, scores,
    limits and options. It contains no paths of this machine.
    """
    from captioner.inference.find_checkpoint import find_checkpoint
    from captioner.inference.package_info import in_package, read_card, read_info

    file = find_checkpoint(run)
    if in_package(file):
        if any(value is not None for value in options.values()):
            raise UsageError(f"{run}: a model package has its card; to change it, use captioner package")
        read_info(file.parent)  # a package of another format is refused
        output.text(read_card(file.parent))
        return
    from captioner.export.card import collect_facts, default_name, model_card
    from captioner.inference.load import open_run

    model = open_run(run)
    output.warnings(model.warnings)
    output.text(model_card(collect_facts(model, default_name(model.path.parent), _build_card_options(options))))


@click.command(epilog=examples("models", "models --json"))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per model.")
def models(as_json: bool) -> int:
    """List the installed models.

    Each line contains the name, the version, the image encoder, the size of the weights and a description, separated by
    tabs. `captioner package` writes a model as a Python package, which pip can install. A damaged package is reported,
    and the exit code is 1.
    """
    from captioner.inference.find_checkpoint import describe_installed
    from captioner.inference.package_info import WEIGHTS

    code, listed = 0, 0
    for installed in describe_installed():
        if isinstance(installed, CheckpointError):
            output.problem(installed)
            code = 1
            continue
        name, folder, info = installed
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


@click.command(epilog=examples("export runs/scenes --output scenes.safetensors --dtype float16"))
@run_argument
@click.option(
    "--output",
    "path",
    type=PATH,
    required=True,
    metavar="FILE",
    help="Write to FILE, a name that ends in .safetensors.",
)
@click.option(
    "--dtype", type=click.Choice(["float16", "float32"]),
    help="Floating-point precision of the parameters.  [default: model.dtype]",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a file of an earlier export, and no other.")
@example_override_option("decode.max_length=20")
def export(run: Path, path: Path, dtype: str | None, overwrite: bool, overrides: tuple[str, ...]) -> None:
    """Write a model for other libraries.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file or a model. The safetensors file
    contains the parameters with the names of PyTorch's layers, and as JSON the vocabulary, the options of model and
    decoding, and the identity of the image encoder. It contains no paths.
    """
    from captioner.export.tensors import export_safetensors
    from captioner.inference.load import open_run

    if path.suffix != ".safetensors":
        raise UsageError(f"--output {path}: expected a name that ends in .safetensors")
    restored = open_run(run, overrides)
    export_safetensors(restored, path, dtype, overwrite)
    output.warnings(restored.warnings)
    output.result(path)
