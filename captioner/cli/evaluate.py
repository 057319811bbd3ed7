"""captioner evaluate"""

from __future__ import annotations

from pathlib import Path

import click

from captioner.cli.options import override_option


@click.command(
    epilog="""\b
Examples:
  captioner evaluate runs/scenes
  captioner evaluate runs/scenes --split heldout --json
"""
)
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN_OR_CHECKPOINT")
@click.option(
    "--split", "splits", multiple=True, metavar="SPLIT", help="A split to score; may be repeated.  [default: val]"
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@override_option
def evaluate(run: Path, splits: tuple[str, ...], as_json: bool, overrides: tuple[str, ...]) -> None:
    """Score a model on splits of its data set.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is taken, or a checkpoint file.

    Perplexity is that of the reference captions. The other figures are of the model's own captions: how many differ
    and, where the data set can tell, the share that is true of its picture.
    """
    from captioner.run import sample as use_case
    from captioner.run.folder import to_json

    restored = use_case.open_run(run, overrides)
    corpus = use_case.open_corpus(restored)
    for name in splits or ("val",):
        score = use_case.score(restored, name, corpus.split(name))
        if as_json:
            print(to_json(score._asdict()))
            continue
        true = "" if score.true is None else f", {score.true:.1%} true of their picture"
        print(
            f"{name}: {score.images:,} images, perplexity {score.perplexity:.2f}, "
            f"{score.distinct:,} different captions{true}"
        )
