"""python -m benchmarks.few_photos FLICKR8K RUNS: train on 290 photographs, score on others.

For each seed, 290 training photographs of Flickr8k are drawn at random. A tenth of them is `val`; the 1,000 validation
photographs of Flickr8k are `test`. Everything runs through the command line; data sets and runs that exist are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.flickr8k import SEEDS, Workspace, command
from benchmarks.results import Row, insert, mean_and_spread, table
from benchmarks.session import ROOT

PAGE = ROOT / "docs" / "fine-tuning.md"
PHOTOS, VAL = 290, 29


class Recipe(NamedTuple):
    """A row of the table: the encoder, the config, and further options of its data set."""

    encoder: str
    config: str
    prepare: tuple[str, ...] = ()


RECIPES = {
    "lite0": Recipe("efficientnet-lite0", "photos"),
    "attention": Recipe("efficientnet-lite0", "photos-attention", ("--regions",)),
    "richer": Recipe("richer", "photos-attention", ("--regions",)),
}
SCORES = {"perplexity": 1, "bleu4": 100, "cider_d": 100}
"""Scores of the table, each with the factor to print it."""


def subset(images: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Draw 290 training images as `train` and `val`; all validation images are `test`."""
    train = [image for image in images if image["split"] == "train"]
    drawn = [train[i] for i in np.random.default_rng(seed).permutation(len(train))[:PHOTOS]]
    parts = {"val": drawn[:VAL], "train": drawn[VAL:], "test": [image for image in images if image["split"] == "val"]}
    return [{**image, "split": split} for split, part in parts.items() for image in part]


def measure(workspace: Workspace, name: str, seed: int) -> dict[str, float]:
    """Train a recipe on the subset of a seed, unless the run is finished, and score the captions of `test`."""
    recipe, source = RECIPES[name], workspace.runs / f"captions-{seed}.json"
    source.write_text(json.dumps({"images": subset(json.loads(workspace.references.read_text())["images"], seed)}))
    features = f"{recipe.encoder}{''.join(recipe.prepare)}-{seed}"
    data = workspace.prepared(features, recipe.encoder, "--min-count", "2", *recipe.prepare, captions=source)
    run = workspace.train(
        f"{recipe.encoder}-{recipe.config}", seed, "--data", data, "-o", "threads=1", config=recipe.config
    )
    scores = json.loads(workspace.captioner("evaluate", run, "--data", data, "--split", "test", "--json"))
    return {score: scores[score] for score in SCORES}


Scored: TypeAlias = Mapping[str, Sequence[Mapping[str, float]]]
"""The scores of each seed, by row."""


def rows(scored: Scored) -> Iterator[Row]:
    """Yield the rows of the table: means over seeds ± half the range."""
    for name, runs in scored.items():
        features = ", ".join(f"`{word}`" for word in (RECIPES[name].encoder, *RECIPES[name].prepare))
        cells = (mean_and_spread([factor * run[score] for run in runs]) for score, factor in SCORES.items())
        yield features, f"`{RECIPES[name].config}`", *cells


@command(RECIPES)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write the table of docs/fine-tuning.md, or with --only print some of its rows."""
    scored = {name: [measure(workspace, name, seed) for seed in SEEDS] for name in names or RECIPES}
    text = table("encoder | config | perplexity | BLEU-4 | CIDEr-D", rows(scored))
    if names:
        print(text)
    else:
        PAGE.write_text(insert(PAGE.read_text(), text))


if __name__ == "__main__":
    main()
