"""python -m benchmarks.architectures RUNS: the decoders side by side on generated scenes.

All models are trained with the options of the config scenes-decoders; those of the table `ROWS` differ. Finished runs
are not trained again.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click

from benchmarks import machine, results
from benchmarks.flickr8k import SEEDS, Workspace, set_options
from benchmarks.session import ROOT
from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import load
from captioner.training.run_folder import end_of, records
from captioner.training.solver import Step
from captioner.training.train import Started, train

PAGE = ROOT / "docs" / "course" / "architectures.md"
FIGURES = ROOT / "benchmarks" / "architectures.json"
CONFIG = "scenes-decoders"
SPLITS = ("val", "heldout")
WORD, DISTANCES = 12, (1, 5, 10)
"""The word whose loss is differentiated, and the distances of the table."""
TIMED_STEPS = 40


class Row(NamedTuple):
    """A row of the tables: its title, and the options that differ from those of the config."""

    title: str
    options: tuple[str, ...]


TRANSFORMER = ("model.decoder=transformer", "model.hidden_dim=128")
REGIONS = ("model.attention=adaptive",)
ROWS = {
    "rnn": Row("RNN", ("model.decoder=rnn",)),
    "lstm": Row("LSTM", ("model.decoder=lstm",)),
    "gru": Row("GRU", ("model.decoder=gru",)),
    "transformer-image": Row("transformer", TRANSFORMER),
    "attention": Row("LSTM with attention to regions", ("model.decoder=lstm", *REGIONS)),
    "transformer": Row("transformer with attention to regions", (*TRANSFORMER, *REGIONS)),
}


def train_row(workspace: Workspace, name: str, seed: int, *more: str, run: str | None = None) -> Path:
    """Train a model, unless its run is finished."""
    return workspace.train(run or name, seed, *set_options((*ROWS[name].options, "threads=1", *more)), config=CONFIG)


def measure(workspace: Workspace, name: str) -> dict[str, Any]:
    """Train and score the models of a row, and compute gradient norms after one step and after training."""
    runs = [train_row(workspace, name, seed) for seed in SEEDS]
    first = train_row(workspace, name, SEEDS[0], "train.max_steps=1", run=f"{name}-start")
    return {
        "parameters": end_of(records(runs[0] / "history.jsonl"))["parameters"],
        "seeds": [score(workspace, run) for run in runs],
        "gradients": {when: gradients(workspace, run) for when, run in (("start", first), ("end", runs[0]))},
    }


def score(workspace: Workspace, run: Path) -> dict[str, Any]:
    """Return the scores of a run on each split."""
    words = (word for split in SPLITS for word in ("--split", split))
    scored = map(json.loads, workspace.captioner("evaluate", run, *words, "--json").splitlines())
    return {line["split"]: {key: line[key] for key in ("perplexity", "correct", "pointing")} for line in scored}


def gradients(workspace: Workspace, run: Path) -> dict[str, Any]:
    """Return the gradient norms at the embedded words, and at the states of a recurrent decoder."""
    norms = json.loads(workspace.captioner("inspect", "gradients", run, "--word", WORD, "--json"))
    return {key: norms[key] for key in ("inputs", "norms")}


def seconds_per_epoch(name: str) -> float:
    """Return the CPU time of an epoch in one thread, from the median of `TIMED_STEPS` steps."""
    config = load(Path(CONFIG), read_overrides([*ROWS[name].options, "threads=1"]))
    ends: list[float] = []
    with TemporaryDirectory() as folder:
        for event in train(config, Path(folder, "run")):
            if isinstance(event, Started):
                per_epoch = event.steps_per_epoch
            if isinstance(event, Step):
                ends.append(time.process_time())
                if len(ends) > TIMED_STEPS:
                    break
    return statistics.median(end - start for start, end in pairwise(ends)) * per_epoch


def scores_table(measured: dict[str, Any]) -> str:
    """Return the table of sizes, times and scores: means over seeds ± half the range."""
    head = "decoder | parameters | s per epoch | perplexity, val | fully correct, val | fully correct, heldout"
    return results.table(head, _scores(measured))


def _scores(measured: dict[str, Any]) -> Iterator[results.Row]:
    for name, row in ordered(measured["rows"]):
        perplexity = results.mean_and_spread([seed["val"]["perplexity"] for seed in row["seeds"]], 3)
        correct = (
            results.mean_and_spread([100 * seed[split]["correct"] for seed in row["seeds"]], 1) + " %"
            for split in SPLITS
        )
        seconds = f"{measured['seconds'][name]:.1f}" if name in measured["seconds"] else ""
        yield ROWS[name].title, f"{row['parameters']:,}", seconds, perplexity, *correct


def gradients_table(measured: dict[str, Any]) -> str:
    """Return the table of gradient norms at earlier words, relative to that at the last one."""
    steps = (f"{when}, {distance}" for when in ("one step", "trained") for distance in DISTANCES)
    return results.table(f"decoder | {' | '.join(steps)}", _gradients(measured))


def _gradients(measured: dict[str, Any]) -> Iterator[results.Row]:
    for name, row in ordered(measured["rows"]):
        norms = (row["gradients"][when]["inputs"] for when in ("start", "end"))
        yield ROWS[name].title, *(f"{of[distance] / of[0]:.2g}" for of in norms for distance in DISTANCES)


def ordered(rows: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the measured rows in the order of the table."""
    return ((name, rows[name]) for name in ROWS if name in rows)


TABLES = {"scores": scores_table, "gradients": gradients_table}
"""The tables by the name of their part of the page."""


def rendered(page: str, measured: dict[str, Any]) -> str:
    """Return the page with the tables."""
    for part, table in TABLES.items():
        page = results.insert(page, table(measured), part)
    return page


@click.command()
@click.argument("runs", type=click.Path(path_type=Path))
@click.option("--only", type=click.Choice(list(ROWS)), multiple=True, help="Measure this row (repeatable).")
def main(runs: Path, only: tuple[str, ...]) -> None:
    """Train and score the decoders in the folder RUNS; write the tables of docs/course/architectures.md."""
    runs.mkdir(parents=True, exist_ok=True)
    measured: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    rows, seconds = measured.get("rows", {}), measured.get("seconds", {})
    for name in only or ROWS:
        seconds[name] = seconds_per_epoch(name)
        rows[name] = measure(Workspace(ROOT, runs), name)
        measured = {"rows": rows, "seconds": seconds, "machine": machine.describe()}
        FIGURES.write_text(json.dumps(measured, indent=1) + "\n")
        PAGE.write_text(rendered(PAGE.read_text(), measured))


if __name__ == "__main__":
    main()
