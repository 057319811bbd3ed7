"""captioner card: print a model card."""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.card_options import build_card_options, card_options
from captioner.cli.completion import complete_run
from captioner.cli.options import PATH
from captioner.errors import UsageError


@click.command(
    epilog="""\b
Examples:
  captioner card runs/scenes
  captioner card runs/scenes --dataset "generated scenes" --license mit
"""
)
@click.argument("run", type=PATH, metavar="RUN_OR_CHECKPOINT", shell_complete=complete_run)
@card_options
def card(run: Path, **options: str | Path | None) -> None:
    """Print a model card.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, a checkpoint file, or the name or the folder of a
    model package, whose card is printed as it was packaged.

    The card is Markdown with the front matter of Hugging Face. It describes the model, its training data, scores,
    limits and options, and how to train it again. It contains no paths of this machine.
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
    from captioner.inference.load import open_run
    from captioner.packaging.card import model_card
    from captioner.packaging.card_facts import collect_facts, default_name

    model = open_run(run)
    output.warnings(model.warnings)
    output.text(model_card(collect_facts(model, default_name(model.path), build_card_options(options))))
