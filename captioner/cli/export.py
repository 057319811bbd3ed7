"""captioner export and card: files of trained models for others, and what they state."""

from __future__ import annotations

import re
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, example_override_option, examples, run_argument
from captioner.config.overrides import NONE, Values
from captioner.errors import UsageError, printable


def _identifier(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,60}", value):
        raise UsageError(f"--{parameter.name} {value}: expected an identifier such as cc-by-4.0")
    return value


@click.command(
    epilog=examples(
        "export runs/birds --output birds-model.h5 --license cc-by-4.0 --terms 'Own photographs, CC BY 4.0'"
    )
)
@run_argument
@click.option(
    "--output", "path", type=PATH, required=True, metavar="FILE", help="Write to FILE: a name that ends in .h5."
)
@click.option(
    "--license", default="", show_default=False, metavar="ID", callback=_identifier,
    help="License of the model, such as cc-by-4.0.  [default: unknown]",
)  # fmt: skip
@click.option(
    "--terms", default="", show_default=False, metavar="TEXT",
    help="Terms of the training data: license, source, restrictions.",
)  # fmt: skip
@click.option(
    "--data",
    type=PATH,
    metavar="FILE",
    help="Fit the training summary anew, on the data set that the model was trained on.",
)
@click.option("--overwrite", is_flag=True, help="Replace a model file, and no other.")
@example_override_option("decode.beam_width=5")
def export(
    run: Path, path: Path, license: str, terms: str, data: Path | None, overwrite: bool,
    overrides: Values,
) -> None:  # fmt: skip
    """Write a trained model to a file for others.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file.

    A model file contains the parameters in float16 with a checksum, the vocabulary, the options, the image encoder, and
    what `captioner card` prints. All commands accept it instead of a run. It needs neither the training data nor the
    run, and contains no paths. With --data, its training summary (familiarity and word regression) is fitted again, on
    the captions of the training images.
    """
    from captioner.captioning.load import open_run
    from captioner.share import prepare_to_share, with_summary_of, write_model

    if path.suffix != ".h5":
        raise UsageError(f"--output {path}: expected a name that ends in .h5")
    opened = open_run(run, overrides if data is None else NONE)
    if data is not None:
        opened = with_summary_of(opened, data, overrides)
    model, notes = prepare_to_share(opened, license, terms)
    write_model(model, path, overwrite)
    output.warnings([*opened.warnings, *notes])
    output.result(f"{path}: {model.model.parameter_count:,} parameters, {path.stat().st_size / 1e6:.1f} MB")


UNSTATED = "not stated; ask the author of the model before you use it for more than tests"


@click.command(epilog=examples("card runs/scenes", "card models/everyday.h5"))
@run_argument
def card(run: Path) -> None:
    """Print what a model is, its scores, license and terms.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file.

    The scores are those of the validation at its training step. What it was made from has licenses and terms, too.
    """
    from captioner.captioning.load import open_run
    from captioner.captioning.saved_model import model_properties
    from captioner.evaluation.score_format import format_score
    from captioner.files.checkpoint import MAX_TEXT
    from captioner.metrics import TITLES
    from captioner.model.losses import perplexity

    model = open_run(run)
    stated, best = model.card, model.meta.best
    scores = [f"perplexity {perplexity(best['loss']):.2f}"] if best and best["step"] == model.meta.step else []
    scores += [f"{title} {format_score(stated.scores[key])}" for key, title in TITLES.items() if key in stated.scores]
    output.warnings(model.warnings)
    lines = {
        "checkpoint": model.checkpoint,
        "data source": model.config.data.source,
        **model_properties(model),
        f"scores ({model.config.validate.split})": ", ".join(scores) or "not measured",
        "license": stated.license or "unknown",
        "terms": stated.terms or UNSTATED,
        **({"made from": stated.made_from} if stated.made_from else {}),
    }
    for name, value in lines.items():
        output.result(f"{printable(name)}: {printable(value, MAX_TEXT)}")
