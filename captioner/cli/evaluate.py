"""captioner evaluate: score captions against reference captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from captioner.cli import output
from captioner.cli.shared_options import (
    PATH,
    data_option,
    ensemble_option,
    example_override_option,
    examples,
)
from captioner.config.overrides import Values
from captioner.errors import UsageError

if TYPE_CHECKING:
    from captioner.evaluation.evaluate import Evaluated


@click.command(
    epilog=examples(
        "evaluate runs/scenes",
        "evaluate runs/scenes --split heldout --json",
        "evaluate runs/one runs/two runs/three",
        "evaluate --ensemble runs/one runs/two -o decode.beam_width=5",
        "evaluate runs/birds --data other-birds.h5",
        "evaluate --captions captions.jsonl --references captions.json",
    )
)
@click.argument("runs", nargs=-1, type=PATH, metavar="[RUN_OR_MODEL]...")
@ensemble_option
@data_option("Score on the data set FILE instead of that of the first run")
@click.option(
    "--split", "splits", multiple=True, metavar="SPLIT",
    help="Score the captions of SPLIT; may be repeated.  [default: val; with --references, all images of that file]",
)  # fmt: skip
@click.option(
    "--captions", type=PATH, metavar="FILE",
    help="Score the captions in FILE instead of generating captions with a model; needs --references.",
)  # fmt: skip
@click.option("--references", type=PATH, metavar="FILE", help="File with the reference captions for --captions.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per split.")
@example_override_option("decode.beam_width=5")
def evaluate(
    runs: tuple[Path, ...], ensemble: bool, data: Path | None, splits: tuple[str, ...],
    captions: Path | None, references: Path | None, as_json: bool, overrides: Values,
) -> None:  # fmt: skip
    """Score captions against reference captions.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file. Several runs are compared: each writes
    its own captions, and all are scored on the images and references of one data set.
    With --ensemble, the word probabilities of all runs are averaged, and the options of the first are used.

    Caption files have COCO's results format, [{"image_id": ..., "caption": ...}], or are CSV or JSON lines, as
    `captioner caption` and `captioner sample` write them. Reference files are COCO's captions_*.json, Karpathy's
    dataset.json, or a table with the columns image and caption.

    BLEU, ROUGE-L and CIDEr-D equal those of pycocoevalcap, PTB tokenizer included. They are multiplied by 100 and
    printed with a 95 % bootstrap confidence interval over images (1,000 resamples). If runs are compared, a difference
    is the score of the first run minus that of another, with an interval from the paired bootstrap. Perplexity is
    computed on the references.
    """
    for wrong, message in (
        (bool(runs) != (captions is None) or (captions is None) != (references is None),
         "expected a run, or --captions with --references"),
        (captions and len(splits) > 1, "--captions needs a single --split"),
        (ensemble and len(runs) == 1, "--ensemble needs several runs"),
        (captions and (overrides or ensemble or data), "--ensemble, --data and -o need a run, not --captions"),
    ):  # fmt: skip
        if wrong:
            raise UsageError(message)
    from captioner.evaluation.evaluate import evaluate_file, evaluate_split, open_captioners

    if captions is not None and references is not None:
        _print(evaluate_file(captions, references, splits[0] if splits else None), as_json)
        return
    captioners, corpus = open_captioners(runs, overrides, ensemble, data)
    for _, captioner in captioners:
        output.warnings(captioner.warnings)
    names = tuple(dict.fromkeys(splits or ("val",)))
    for name in names:
        corpus.split(name)  # report an unknown split before any is scored
    for name in names:
        _print(evaluate_split(captioners, corpus, name), as_json)


def _print(evaluated: Evaluated, as_json: bool) -> None:
    from captioner.evaluation.score_format import score_lines

    record = evaluated.record()
    output.warnings(f"{evaluated.split}: {warning}" for warning in record["warnings"])
    if as_json:
        output.record(record)
        return
    for line in score_lines(record):
        output.result(line)
