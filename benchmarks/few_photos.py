"""python -m benchmarks.few_photos FLICKR8K RUNS: train on 290 photographs, score on others.

For each seed, 290 training photographs of Flickr8k are drawn at random. A tenth of them is `val`; the 1,000 validation
photographs of Flickr8k are `test`. Everything runs through the command line; data sets and runs that exist are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.flickr8k import SEEDS, Workspace, command
from benchmarks.results import Row, insert, mean_and_spread, table
from benchmarks.session import ROOT

PAGE = ROOT / "docs" / "fine-tuning.md"
PHOTOS, VAL = 290, 29
HEAD = "encoder | config | perplexity | BLEU-4 | CIDEr-D"
SCORES = {"perplexity": (1, 1), "bleu4": (100, 1), "cider_d": (100, 1)}
"""Scores of the table, each with the factor and the digits to print it."""


MODEL = ROOT / "models" / "flickr8k"
"""The packaged model, which was trained on all training photographs, those of the subsets included."""


class Recipe(NamedTuple):
    """A row of the table: the encoder, whether it stores regions, the config, and options of its training.

    Without a config, `MODEL` is scored as it is.
    """

    encoder: str
    regions: bool
    config: str | None
    options: tuple[str, ...] = ()


RECIPES = {
    "lite0": Recipe("efficientnet-lite0", False, "photos"),
    "attention": Recipe("efficientnet-lite0", True, "photos-attention"),
    "richer": Recipe("richer", True, "photos-attention"),
    "model": Recipe("richer", False, None),
    "finetuned": Recipe("richer", False, "photos-finetune", ("-o", f"train.init_from={MODEL}")),
}


def subset(images: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Draw 290 training images as `train` and `val`; all validation images are `test`."""
    train = [image for image in images if image["split"] == "train"]
    drawn = [train[i] for i in np.random.default_rng(seed).permutation(len(train))[:PHOTOS]]
    parts = {"val": drawn[:VAL], "train": drawn[VAL:], "test": [image for image in images if image["split"] == "val"]}
    return [{**image, "split": split} for split, part in parts.items() for image in part]


def measure(workspace: Workspace, name: str, seed: int) -> dict[str, float | None]:
    """Train a recipe on the subset of a seed, unless the run is finished, and score the captions of `test`."""
    recipe, source = RECIPES[name], workspace.runs / f"captions-{seed}.json"
    source.write_text(json.dumps({"images": subset(json.loads(workspace.references.read_text())["images"], seed)}))
    regions = ("--regions",) * recipe.regions
    features = f"{recipe.encoder}{''.join(regions)}-{seed}"
    data = workspace.prepared(features, recipe.encoder, "--min-count", "2", *regions, captions=source)
    run = MODEL
    if recipe.config is not None:
        options = "--data", data, "-o", "threads=1", *recipe.options
        run = workspace.train(f"{recipe.encoder}-{recipe.config}", seed, *options, config=recipe.config)
    scores = json.loads(workspace.captioner("evaluate", run, "--data", data, "--split", "test", "--json"))
    return {score: scores[score] for score in SCORES}


def rows(scored: Mapping[str, Sequence[Mapping[str, float | None]]]) -> Iterator[Row]:
    """Yield the rows of the table: means over seeds ± half the range."""
    for name, runs in scored.items():
        recipe = RECIPES[name]
        features = f"`{recipe.encoder}`{', `--regions`' * recipe.regions}"
        cells = (_mean([run[score] for run in runs], *form) for score, form in SCORES.items())
        yield features, f"`{recipe.config or 'models/flickr8k'}`", *cells


def _mean(values: Sequence[float | None], factor: int, digits: int) -> str:
    numbers = [factor * value for value in values if value is not None]
    return mean_and_spread(numbers, digits) if numbers else "-"  # perplexities of another vocabulary are not comparable


@command(RECIPES)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write the table of docs/fine-tuning.md, or with --only print some of its rows."""
    scored = {name: [measure(workspace, name, seed) for seed in SEEDS] for name in names or RECIPES}
    if names:
        print(table(HEAD, rows(scored)))
    else:
        PAGE.write_text(insert(PAGE.read_text(), table(HEAD, rows(scored))))


if __name__ == "__main__":
    main()
