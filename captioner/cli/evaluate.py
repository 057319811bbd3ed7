"""captioner evaluate: score captions against reference captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import output
from captioner.cli.options import PATH, example_override_option
from captioner.errors import UsageError

if TYPE_CHECKING:
    from captioner.evaluation.scoring import EvaluationSet, ScoredCaptions


@click.command(
    epilog="""\b
Examples:
  captioner evaluate runs/scenes
  captioner evaluate runs/scenes --split heldout --json
  captioner evaluate runs/scenes --baseline nn --worst 5
  captioner evaluate runs/one runs/two runs/three -o decode.beam_width=5
  captioner evaluate --captions results.json --references captions.json
"""
)
@click.argument("runs", nargs=-1, type=PATH, metavar="[RUN_OR_CHECKPOINT]...")
@click.option(
    "--split", "splits", multiple=True, metavar="SPLIT",
    help="Score the captions of SPLIT; may be repeated.  [default: val, or all images of --references]",
)  # fmt: skip
@click.option(
    "--captions",
    type=PATH,
    metavar="FILE",
    help="Score the captions in FILE instead of generating captions with a model; needs --references.",
)
@click.option(
    "--references",
    type=PATH,
    metavar="FILE",
    help="File with the reference captions for --captions.",
)
@click.option("--against", type=PATH, metavar="FILE", help="Also score the captions in FILE, and compare.")
@click.option(
    "--baseline",
    type=click.Choice(["nn"]),
    help="Compare with the nearest-neighbour baseline, which uses the 30 nearest training images.",
)
@click.option(
    "--coco",
    type=PATH,
    metavar="FILE",
    help="Write the captions to FILE in COCO's results format.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing --coco file.")
@click.option("--worst", type=click.IntRange(min=1), metavar="N", help="Print the N images with the lowest CIDEr-D.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per split.")
@example_override_option("decode.beam_width=5")
def evaluate(
    runs: tuple[Path, ...],
    splits: tuple[str, ...],
    captions: Path | None,
    references: Path | None,
    against: Path | None,
    baseline: str | None,
    coco: Path | None,
    overwrite: bool,
    worst: int | None,
    as_json: bool,
    overrides: tuple[str, ...],
) -> None:
    """Score captions against reference captions.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is used, or a checkpoint file. Several runs or checkpoints
    form an ensemble: their word probabilities are averaged. Caption files have COCO's results format,
    [{"image_id": ..., "caption": ...}]. Reference files are COCO's captions_*.json, Karpathy's dataset.json, or a table
    with the columns image and caption.

    BLEU, ROUGE-L and CIDEr-D equal pycocoevalcap's (PTB tokenizer included) and are printed times 100, each with a 95 %
    bootstrap confidence interval over images (1,000 resamples). Perplexity is computed on the references.
    """
    if bool(runs) != (captions is None) or (captions is None) != (references is None):
        raise UsageError("expected a run, or --captions with --references")
    if len(splits) > 1 and (captions or against or coco):
        raise UsageError("--captions, --against and --coco need a single --split")
    if overwrite and coco is None:
        raise UsageError("--overwrite needs --coco")
    if captions is not None and (baseline or coco or overrides):
        raise UsageError("--baseline, --coco and -o need a run, not --captions")
    if baseline and "train" in splits:
        raise UsageError("--baseline uses the captions of train and cannot be scored on it; try another --split")
    from captioner.evaluation import caption_files as results
    from captioner.evaluation import scoring

    if coco is not None:
        results.check_results_output(coco, overwrite)
    if captions is not None and references is not None:
        split = splits[0] if splits else None
        evaluation_set, numbers = results.read_references(references, split)

        def score(path: Path) -> ScoredCaptions:
            candidates = results.match(results.read_results(path), path, evaluation_set.images, numbers)
            return scoring.score_captions(evaluation_set, path.name, candidates)

        scored = [score(path) for path in (captions, against) if path is not None]
        _print(split or references.name, evaluation_set, scored, worst, as_json)
        return
    from captioner.inference.load import captioner_of, open_corpus, open_runs

    restored = open_runs(runs, overrides)
    corpus = open_corpus(restored)
    names = tuple(dict.fromkeys(splits)) or ("val",)
    for name in names:
        corpus.split(name)  # report an unknown split before any is scored
    captioner = captioner_of(restored, corpus)
    for name in names:
        evaluation_set, rows = scoring.build_evaluation_set(corpus, name)
        scored = [scoring.score_model(captioner, corpus, name, evaluation_set, rows)]
        if coco is not None:
            results.write_results(coco, evaluation_set.images, scored[0].captions, overwrite)
        if baseline:
            from captioner.evaluation.nearest_neighbours import nearest_neighbour_captions

            scored.append(
                scoring.score_captions(evaluation_set, baseline, nearest_neighbour_captions(corpus, name, rows))
            )
        if against is not None:
            candidates = results.match(results.read_results(against), against, evaluation_set.images, {})
            scored.append(scoring.score_captions(evaluation_set, against.name, candidates))
        _print(name, evaluation_set, scored, worst, as_json)


def _print(
    name: str, evaluation_set: EvaluationSet, scored: list[ScoredCaptions], number: int | None, as_json: bool
) -> None:
    from captioner.cli.scores import score_lines, worst_lines
    from captioner.evaluation import scoring

    record: dict[str, Any] = {"split": name, **scoring.to_dict(evaluation_set, scored[0], scored[1:])}
    worst = [] if number is None else scoring.worst(evaluation_set, scored[0], number)
    if as_json:
        output.record(record | ({} if number is None else {"worst": worst}))
        return
    for line in score_lines(record, scored[0].by):
        output.result(line)
    for cells in worst_lines(worst):
        output.result(*cells)
