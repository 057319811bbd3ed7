"""captioner inspect"""

from __future__ import annotations

import math
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.options import override_option

WIDTH = 36
DECADES = 6
"""Powers of ten from no bar to a whole one."""


@click.group(
    epilog="""\b
Examples:
  captioner inspect gradients runs/scenes
"""
)
def inspect() -> None:
    """Look into a trained model."""


@inspect.command(
    epilog="""\b
Examples:
  captioner inspect gradients runs/scenes
  captioner inspect gradients runs/scenes runs/other --words 5 --json
"""
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN_OR_CHECKPOINT...")
@click.option("--words", type=click.IntRange(1), default=12, show_default=True, help="The word whose loss is followed.")
@click.option("--split", default="val", show_default=True, help="Whose captions.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a run.")
@override_option
def gradients(runs: tuple[Path, ...], words: int, split: str, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Draw how the gradient of one word's loss fades over the words before it.

    RUN_OR_CHECKPOINT is a run folder, whose best checkpoint is taken, or a checkpoint file. For each: the norm of the
    gradient of -log P(word T) with respect to the state 0, 1, ... steps before, as a mean over captions of at least T
    words. A bar's length is the logarithm: bars that shrink evenly are a gradient that vanishes by a factor a step.
    """
    from captioner.gradcheck.gradient_norms import gradient_reach
    from captioner.inference.load import open_corpus, open_run

    for run in runs:
        restored = open_run(run, overrides)
        corpus = open_corpus(restored)
        reach = gradient_reach(restored.model, corpus.split(split), words)
        cell = restored.config.model.cell
        if as_json:
            output.record({"run": str(run), "cell": cell, "split": split, "words": words, **reach._asdict()})
            continue
        most = max(reach.norms)
        output.result(f"{run}: {cell}, the loss of word {words} of {reach.captions:,} captions of {split}")
        for back, norm in enumerate(reach.norms):
            share = 1 + math.log10(norm / most) / DECADES if norm and most else 0.0
            output.result(f"{back:>3} steps back {norm:>9.2e} {'#' * round(WIDTH * max(0.0, share))}".rstrip())
        if len(reach.norms) > 1 and reach.norms[0] and reach.norms[-1]:
            factor = (reach.norms[-1] / reach.norms[0]) ** (1 / (len(reach.norms) - 1))
            output.result(f"    on average times {factor:.2f} a step back")
