"""captioner inspect: gradients of a trained model."""

from __future__ import annotations

import math
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.shared_options import example_override_option, examples, runs_argument
from captioner.config.overrides import Values

WIDTH = 36
DECADES = 6
"""Powers of ten between an empty bar and a full one."""


@click.group(epilog=examples("inspect gradients runs/scenes"))
def inspect() -> None:
    """Analyze a trained model."""


@inspect.command(
    epilog=examples("inspect gradients runs/scenes", "inspect gradients runs/scenes runs/other --word 5 --json")
)
@runs_argument
@click.option(
    "--word", type=click.IntRange(1), default=12, metavar="T", help="Position of the word whose loss is differentiated."
)
@click.option("--split", default="val", metavar="SPLIT", help="Use the captions of SPLIT.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per run.")
@example_override_option("data.root=birds.h5")
def gradients(runs: tuple[Path, ...], word: int, split: str, as_json: bool, overrides: Values) -> None:
    """Print gradient norms by time step, as a bar chart.

    RUN_OR_MODEL is a run folder, whose best checkpoint is used, or a model file. The loss of word T, which is -log
    P(word T), is differentiated with respect to the hidden states and the embedded words before it. Line k contains the
    norms of the gradients k time steps earlier, averaged over the captions with at least T words: for the hidden state,
    which a transformer does not have, and for the word. Bars show the hidden-state norms (word norms for a transformer)
    on a log scale: if the gradient vanishes exponentially, each bar is shorter than the one above by the same length.
    """
    from captioner.captioning.load import open_corpus, open_run
    from captioner.evaluation.gradient_norms import gradient_norms

    for run in runs:
        opened = open_run(run, overrides)
        output.warnings(opened.warnings)
        corpus = open_corpus(opened, option="-o data.root=FILE")
        reach = gradient_norms(opened.model, corpus.split(split), word)
        decoder = opened.config.model.decoder
        if as_json:
            output.record({"run": str(run), "decoder": decoder, "split": split, "word": word, **reach._asdict()})
            continue
        norms = reach.norms or reach.inputs
        maximum, of = max(norms), "words" if reach.norms is None else "hidden states and words"
        output.result(
            f"{run}: {decoder}, loss of word {word}, {reach.captions:,} captions of {split}, gradients of {of}"
        )
        for back, norm in enumerate(norms):
            length = 1 + math.log10(norm / maximum) / DECADES if norm and maximum else 0.0
            second = "" if reach.norms is None else f" {reach.inputs[back]:>9.2e}"
            where = f"{back:>3} {'step' if back == 1 else 'steps'} back"
            output.result(f"{where:<14} {norm:>9.2e}{second} {'#' * round(WIDTH * max(0.0, length))}".rstrip())
        if len(norms) > 1 and norms[0] and norms[-1]:
            factor = (norms[-1] / norms[0]) ** (1 / (len(norms) - 1))
            output.result(f"    mean factor per step: {factor:.2f}")
