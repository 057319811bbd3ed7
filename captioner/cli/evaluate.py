"""captioner evaluate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import output
from captioner.cli.options import override_option
from captioner.errors import UsageError

if TYPE_CHECKING:
    from captioner.evaluation.scoring import Judged, Task


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
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN_OR_CHECKPOINT]...")
@click.option(
    "--split", "splits", multiple=True, metavar="SPLIT",
    help="A split to score; may be repeated.  [default: val, or all images of --references]",
)  # fmt: skip
@click.option(
    "--captions", type=click.Path(path_type=Path), metavar="FILE", help="Score these captions, not a model's."
)
@click.option("--references", type=click.Path(path_type=Path), metavar="FILE", help="What people said of their images.")
@click.option("--against", type=click.Path(path_type=Path), metavar="FILE", help="Captions to compare with.")
@click.option("--baseline", type=click.Choice(["nn"]), help="Compare with captions of the 30 nearest images of train.")
@click.option("--coco", type=click.Path(path_type=Path), metavar="FILE", help="Write the captions as COCO results.")
@click.option("--overwrite", is_flag=True, help="Replace the file of --coco if it exists.")
@click.option("--worst", "most", type=click.IntRange(min=1), metavar="N", help="Show the images of least CIDEr-D.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@override_option
def evaluate(
    runs: tuple[Path, ...],
    splits: tuple[str, ...],
    captions: Path | None,
    references: Path | None,
    against: Path | None,
    baseline: str | None,
    coco: Path | None,
    overwrite: bool,
    most: int | None,
    as_json: bool,
    overrides: tuple[str, ...],
) -> None:
    """Score captions, a model's or others, by what people said.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is taken, or a checkpoint file; of several, the models'
    probabilities are averaged word by word. A FILE of captions is in the form of COCO's results,
    `[{"image_id", "caption"}]`; references are COCO's captions_*.json, Karpathy's dataset.json, or a table with image
    and caption.

    BLEU, ROUGE-L and CIDEr-D are those of pycocoevalcap, with its tokenizer, times 100; with them stands the interval
    that holds the score in 95 % of 1,000 draws of as many images. Perplexity is that of the reference captions.
    """
    if bool(runs) != (captions is None) or (captions is None) != (references is None):
        raise UsageError("expected a run, or --captions with --references")
    if len(splits) > 1 and (captions or against or coco):
        raise UsageError("--captions, --against and --coco take one --split")
    if overwrite and coco is None:
        raise UsageError("--overwrite is for --coco; leave it out")
    if captions is not None and (baseline or coco or overrides):
        raise UsageError("--baseline, --coco and -o are for a run; leave them out with --captions")
    if baseline and "train" in splits:
        raise UsageError("--baseline borrows captions from train, and cannot be scored there; name another split")
    from captioner.evaluation import caption_files as results
    from captioner.evaluation import scoring as use_case

    if coco is not None:
        results.check_results_output(coco, overwrite)
    if captions is not None and references is not None:
        split = splits[0] if splits else None
        task, numbers = results.read_references(references, split)

        def judge(path: Path) -> Judged:
            return use_case.judge(
                task, path.name, results.match(results.read_results(path), path, task.images, numbers)
            )

        found = [judge(path) for path in (captions, against) if path is not None]
        _show(split or references.name, task, found, most, as_json)
        return
    from captioner.inference.load import captioner_of, open_corpus, open_runs

    restored = open_runs(runs, overrides)
    corpus = open_corpus(restored)
    names = tuple(dict.fromkeys(splits)) or ("val",)
    for name in names:
        corpus.split(name)  # what is wrong with one is told before the others are scored
    captioner = captioner_of(restored, corpus)
    for name in names:
        task, rows = use_case.task_of(corpus, name)
        found = [use_case.judge_model(captioner, corpus, name, task, rows)]
        if coco is not None:
            results.write_results(coco, task.images, found[0].captions, overwrite)
        if baseline:
            from captioner.evaluation.nearest_neighbours import nearest_neighbour_captions

            found.append(use_case.judge(task, baseline, nearest_neighbour_captions(corpus, name, rows)))
        if against is not None:
            said = results.match(results.read_results(against), against, task.images, {})
            found.append(use_case.judge(task, against.name, said))
        _show(name, task, found, most, as_json)


def _show(name: str, task: Task, found: list[Judged], most: int | None, as_json: bool) -> None:
    from captioner.cli.scores import score_lines, worst_lines
    from captioner.evaluation import scoring as use_case

    record: dict[str, Any] = {"split": name, **use_case.to_dict(task, found[0], found[1:])}
    worst = [] if most is None else use_case.worst(task, found[0], most)
    if as_json:
        output.record(record | ({} if most is None else {"worst": worst}))
        return
    for line in score_lines(record, found[0].by):
        output.result(line)
    for cells in worst_lines(worst):
        output.result(*cells)
