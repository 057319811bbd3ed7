"""python -m benchmarks.few_photos FLICKR8K RUNS: train on 100 to 1,000 photographs, score on others.

For each seed, training photographs of Flickr8k are drawn at random. A tenth of them is `val`; the 1,000 validation
photographs of Flickr8k are `test`. Everything runs through the command line; data sets, runs and scores that exist are
kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.flickr8k import BEAM, SEEDS, Workspace, command, set_options
from benchmarks.results import Row, insert, mean_and_spread, table
from benchmarks.session import ROOT

FIGURES = ROOT / "benchmarks" / "few_photos.json"
PAGE, PART = ROOT / "docs" / "baseline.md", "sizes"
ENCODER = "efficientnet-lite0"


class Recipe(NamedTuple):
    """A row of the table: the config, and the number of photographs."""

    config: str
    photos: int


SIZES = (("photos", 100), ("photos", 290), ("photos", 1000), ("photos-thousands", 1000))
RECIPES = {f"{config}-{photos}": Recipe(config, photos) for config, photos in SIZES}
SCORES = ("bleu4", "cider_d", "alone", "nn")
"""Scores of the table: `alone` is the CIDEr-D without re-ranking, `nn` that of the baseline."""


def subset(images: Sequence[Mapping[str, Any]], seed: int, photos: int) -> list[dict[str, Any]]:
    """Draw training images as `train` and `val`; all validation images are `test`."""
    train = [image for image in images if image["split"] == "train"]
    drawn, val = [train[i] for i in np.random.default_rng(seed).permutation(len(train))[:photos]], photos // 10
    parts = {"val": drawn[:val], "train": drawn[val:], "test": [image for image in images if image["split"] == "val"]}
    return [{**image, "split": split} for split, part in parts.items() for image in part]


def measure(workspace: Workspace, name: str, seed: int) -> Any:
    """Train a recipe on the subset of a seed, unless this is done, and score the captions of `test`.

    All photographs are encoded once. `seconds` is the processor time of training, `bytes` the size of data set and run,
    `alone` the CIDEr-D without re-ranking.
    """
    recipe = RECIPES[name]
    title = f"{ENCODER}-{recipe.photos}"
    trained = f"{title}-{recipe.config}"
    source, file = (workspace.runs / f"{part}-{seed}.json" for part in (f"captions-{title}", f"scores-{trained}"))
    if not file.exists():
        images = json.loads(workspace.references.read_text())["images"]
        source.write_text(json.dumps({"images": subset(images, seed, recipe.photos)}))
        options = "--features", str(workspace.prepared(ENCODER, ENCODER)), "--min-count", "2"
        data = workspace.prepared(f"{title}-{seed}", ENCODER, *options, captions=source)
        before = os.times()
        run = workspace.train(trained, seed, "--data", data, "-o", "threads=1", config=recipe.config)
        seconds = os.times().children_user - before.children_user
        words = ("evaluate", run, "--split", "test", "--json")
        scored = json.loads(workspace.captioner(*words, "--baseline", "nn"))
        scored["alone"] = json.loads(workspace.captioner(*words, *set_options(BEAM)))["cider_d"]
        sizes = [path.stat().st_size for path in (data, *run.iterdir())]
        file.write_text(json.dumps({**scored, "seconds": seconds, "bytes": sum(sizes)}))
    return json.loads(file.read_text())


def kept(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores of a run that the table contains; `nn` is the CIDEr-D of the baseline."""
    baseline = scores["others"]["nn"]["cider_d"]
    return {name: scores[name] for name in ("bleu4", "cider_d", "alone", "seconds", "bytes")} | {"nn": baseline}


def render(scored: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return the table of the scores of each seed, by row: means over seeds ± half the range."""
    head = "photographs | config | seeds | minutes | MB | BLEU-4 | CIDEr-D | not re-ranked | nearest neighbours | gain"
    return table(head, (row(RECIPES[name], scored[name]) for name in RECIPES))


def row(recipe: Recipe, runs: Sequence[Mapping[str, float]]) -> Row:
    """Return the row of a recipe; *gain* is the difference of CIDEr-D from the baseline."""
    cells = [[run["seconds"] / 60, run["bytes"] / 1e6, *(100 * run[score] for score in SCORES)] for run in runs]
    gains = [100 * (run["cider_d"] - run["nn"]) for run in runs]
    columns = map(mean_and_spread, (*zip(*cells, strict=True), gains))
    return f"{recipe.photos:,}", f"`{recipe.config}`", str(len(runs)), *columns


@command(RECIPES)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write the table of docs/baseline.md."""
    scored = json.loads(FIGURES.read_text())
    for name in names or RECIPES:
        scored[name] = [kept(measure(workspace, name, seed)) for seed in SEEDS]
        FIGURES.write_text(json.dumps(scored, indent=1) + "\n")
    PAGE.write_text(insert(PAGE.read_text(), render(scored), PART))


if __name__ == "__main__":
    main()
