"""The command of a benchmark on Flickr8k, and the command lines that prepare, train and score for it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import click

from benchmarks.session import ROOT
from captioner.training.run_folder import end_of, records

SEEDS = (0, 1, 2)
ALONE = ("decode.guidance_weight=0", "decode.similarity_weight=0")
"""Options with which the model ranks captions alone, without word regression."""
GREEDY = ("decode.beam_width=1", "decode.length_penalty=0", "decode.no_repeat_ngram=null", *ALONE)
BEAM = ("decode.beam_width=10", "decode.length_penalty=0.7", "decode.no_repeat_ngram=2", *ALONE)
ARGUMENTS = "DATA has images/ and dataset_flickr8k.json (docs/data.md); RUNS is for data sets and runs."


class Workspace:
    """Flickr8k with `images/` and `dataset_flickr8k.json`, and the folder of the runs.

    What exists is kept: finished runs are not trained again, and data sets are not prepared again.
    """

    def __init__(self, data: Path, runs: Path) -> None:
        self.data, self.runs = data.absolute(), runs.absolute()
        self.references = self.data / "dataset_flickr8k.json"

    def captioner(self, *args: object) -> str:
        command = [sys.executable, "-m", "captioner", *map(str, args)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def prepared(self, name: str, encoder: str, *options: str, captions: Path | None = None) -> Path:
        """Return the data set with the features of an encoder, by default with the captions of Flickr8k."""
        output = self.runs / f"{self.data.name}-{name}.h5"
        if not output.exists():
            files = "--images", self.data / "images", "--encoder", encoder, "--output", output
            self.captioner("prepare", captions or self.references, *files, *options)
        return output

    def run(self, name: str, seed: int) -> Path:
        return self.runs / f"{name}-{seed}"

    def is_finished(self, name: str, seed: int) -> bool:
        return end_of(records(self.run(name, seed) / "history.jsonl")).get("ended") == "done"

    def train(self, name: str, seed: int, *args: object, config: str) -> Path:
        """Train a config, unless the run is finished."""
        run = self.run(name, seed)
        if not self.is_finished(name, seed):
            file = ROOT / "configs" / f"{config}.yaml"
            self.captioner("train", "-c", file, *args, "-o", f"seed={seed}", "--run", run, "--overwrite")
        return run

    def score(self, run: Path, *options: str) -> dict[str, Any]:
        """Score a run against the original references."""
        overrides = set_options(options)
        with TemporaryDirectory() as folder:
            captions = Path(folder, "captions.jsonl")
            metrics = json.loads(self.captioner("evaluate", run, "--json", *overrides))
            self.captioner("sample", run, "--split", "val", "--write", captions, *overrides)
            scored = "--captions", captions, "--references", self.references, "--split", "val", "--json"
            scores: dict[str, Any] = json.loads(self.captioner("evaluate", *scored))
        return {name: metrics[name] for name in ("checkpoint", "perplexity", "novel")} | scores


def set_options(options: Iterable[str]) -> list[str]:
    """Return options of a config as words of a command."""
    return [word for option in options for word in ("-o", option)]


Measure: TypeAlias = Callable[[Workspace, tuple[str, ...]], None]


def command(names: Collection[str], epilog: str | None = ARGUMENTS) -> Callable[[Measure], click.Command]:
    """Make a command of a function of the workspace and of the rows to measure; none means all of `names`."""

    def decorate(measure: Measure) -> click.Command:
        @click.command(help=measure.__doc__, epilog=epilog)
        @click.argument("data", type=click.Path(path_type=Path, exists=True))
        @click.argument("runs", type=click.Path(path_type=Path))
        @click.option("--only", type=click.Choice(list(names)), multiple=True, help="Measure this row (repeatable).")
        def main(data: Path, runs: Path, only: tuple[str, ...]) -> None:
            runs.mkdir(parents=True, exist_ok=True)
            measure(Workspace(data, runs), only)

        return main

    return decorate
