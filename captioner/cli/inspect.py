"""captioner inspect and gradcheck: gradients of a trained model, and checks of those of every layer."""

from __future__ import annotations

import math
from pathlib import Path

import click

from captioner.cli import output
from captioner.cli.shared_options import PATH, config_options, example_override_option, examples, runs_argument
from captioner.config.overrides import Values
from captioner.errors import UsageError

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
    from captioner.gradcheck.gradient_norms import gradient_norms

    for run in runs:
        restored = open_run(run, overrides)
        output.warnings(restored.warnings)
        corpus = open_corpus(restored, option="-o data.root=FILE")
        reach = gradient_norms(restored.model, corpus.split(split), word)
        decoder = restored.config.model.decoder
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


@click.command(
    epilog=examples(
        "gradcheck", "gradcheck -c scenes-rnn -o model.dropout_hidden=0.5 --full", "gradcheck --file student.py"
    )
)
@config_options
@click.option("--full", is_flag=True, help="Compare every element instead of one random direction.")
@click.option(
    "--file", "functions", type=PATH, metavar="FILE", help="Check the functions in a Python file, which is executed."
)
def gradcheck(config_file: Path | None, overrides: Values, full: bool, functions: Path | None) -> int:
    """Check the gradients of every layer and of the configured model.

    Each analytic gradient is compared with central differences along a random direction, in float64. If they differ,
    or with --full, every element is compared. Inner layers are checked before those that consist of them, and the
    check ends with the first layer that has a wrong gradient. The errors of a stacked parameter are printed by gate
    (or for queries Q, keys K and values V), relative to the largest element of the whole gradient. The layers and the
    model are scaled down. The exit code is 1 if a gradient is wrong.

    A gradient check compares a backward pass with its forward pass. It does not find an error that both contain, such
    as two gates that are swapped in both, or a formula that differs from that of the paper.

    --file checks functions with the names and signatures of CS231n (`captioner.cs231n`), such as rnn_step_forward and
    rnn_step_backward: the values of forward functions against captioner's, and gradients against central differences
    of the file's forward function. The file is executed with your rights: read it first if it is not yours.
    """
    if functions is not None:
        if config_file or overrides or full:
            raise UsageError("gradcheck: -c, -o and --full have no effect with --file; leave them out")
        return _check_file(functions)
    from captioner.config.yaml_io import load
    from captioner.gradcheck.cases import gradient_cases
    from captioner.gradcheck.numeric import TOLERANCE, check_gradients

    config = load(config_file, overrides)
    output.warnings(config.ignored.values())
    rows = []
    output.result(f"{'layer':<25} {'gradient':<9} {'check':<10} relative error")
    cases = gradient_cases(config)
    for case, rng in cases:
        results = list(check_gradients(case, rng, full))
        for row in results:
            verdict = "PASS" if row.passed else f"FAIL{row.by_part()}"
            output.result(f"{row.case:<25} {row.array:<9} {row.check:<10} {row.error:<14.1e} {verdict}")
        if failed := [row.array for row in results if not row.passed]:
            output.result(f"FAIL: {len(failed)} of {len(results)} gradients of {case.name}: {', '.join(failed)}")
            if outer := [case.name for case, _ in cases]:
                output.result(f"not checked, after {case.name}: {'; '.join(outer)}")
            return 1
        rows += results
    worst = max(row.error for row in rows)
    output.result(f"PASS: {len(rows)} gradients, maximum relative error {worst:.1e} (tolerance {TOLERANCE:.0e})")
    return 0


def _check_file(path: Path) -> int:
    """Check the functions in a Python file, and print a line for each."""
    from captioner import cs231n
    from captioner.gradcheck.student_file import NAMES, check_functions, load_functions

    functions = load_functions(path)
    failed = []
    for name, problem, error in check_functions(functions, vars(cs231n)):
        verdict = f"FAIL  {problem}" if problem else f"PASS  maximum relative error {error:.1e}"
        output.result(f"{name:<30} {verdict}")
        if problem:
            failed.append(name)
    if missing := [name for name in NAMES if name not in functions]:
        output.result(f"not in the file: {len(missing)} of {len(NAMES)} functions")
    if failed:
        output.result(f"FAIL: {len(failed)} of {len(functions)} functions: {', '.join(failed)}")
        return 1
    output.result(f"PASS: {len(functions)} functions")
    return 0
