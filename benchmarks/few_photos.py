"""python -m benchmarks.few_photos CAPTIONS IMAGES WORK: train on 290 photographs, score on others.

For each seed, 290 training photographs of Flickr8k are drawn at random. A tenth of them is `val`; the 1,000 validation
photographs of Flickr8k are `test`. Everything runs through the command line; data sets and runs that exist are kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.results import Row, insert, mean_and_spread, table
from benchmarks.session import ROOT

PAGE = ROOT / "docs" / "own-photos.md"
SEEDS = (0, 1, 2)
PHOTOS, VAL = 290, 29
HEAD = "encoder | config | perplexity | BLEU-4 | CIDEr-D"
SCORES = {"perplexity": (1, 1), "bleu4": (100, 1), "cider_d": (100, 1)}
"""Scores of the table, each with the factor and the digits to print it."""


MODEL = ROOT / "models" / "flickr8k"
"""The packaged model, which was trained on all training photographs, those of the subsets included."""


class Recipe(NamedTuple):
    """A row of the table: the encoder, whether it stores regions, the config, and whether training starts from `MODEL`.

    Without a config, `MODEL` is scored as it is.
    """

    encoder: str
    regions: bool
    config: str | None
    finetuned: bool = False


RECIPES = (
    Recipe("efficientnet-lite0", False, "photos"),
    Recipe("efficientnet-lite0", True, "photos-attention"),
    Recipe("richer", True, "photos-attention"),
    Recipe("richer", False, None),
    Recipe("richer", False, "photos-finetune", True),
)


def captioner(*args: object) -> str:
    command = [sys.executable, "-m", "captioner", *map(str, args)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def subset(images: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Draw 290 training images as `train` and `val`; all validation images are `test`."""
    train = [image for image in images if image["split"] == "train"]
    drawn = [train[i] for i in np.random.default_rng(seed).permutation(len(train))[:PHOTOS]]
    parts = {"val": drawn[:VAL], "train": drawn[VAL:], "test": [image for image in images if image["split"] == "val"]}
    return [{**image, "split": split} for split, part in parts.items() for image in part]


def prepare(captions: Path, photos: Path, work: Path, recipe: Recipe, seed: int) -> Path:
    """Write the data set of a recipe and a seed, unless it exists."""
    source, regions = work / f"captions-{seed}.json", ["--regions"] * recipe.regions
    data = work / f"{recipe.encoder}{''.join(regions)}-{seed}.h5"
    source.write_text(json.dumps({"images": subset(json.loads(captions.read_text())["images"], seed)}))
    if not data.exists():
        options = ["--encoder", recipe.encoder, "--min-count", 2, *regions]
        captioner("prepare", source, "--images", photos, "--output", data, *options)
    return data


def score(data: Path, recipe: Recipe, run: Path, seed: int) -> dict[str, float | None]:
    """Train, unless the run is finished, and score the captions of `test`."""
    if recipe.config is None:
        run = MODEL
    elif not (run / "summary.json").exists():
        options = ["-o", f"seed={seed}", "-o", "threads=1"]
        options += ["-o", f"train.init_from={MODEL}"] if recipe.finetuned else []
        config = ROOT / "configs" / f"{recipe.config}.yaml"
        captioner("train", "-c", config, "--data", data, "--run", run, *options)
    found = json.loads(captioner("evaluate", run, "--data", data, "--split", "test", "--json"))
    return {name: found[name] for name in SCORES}


def rows(found: Mapping[Recipe, Sequence[Mapping[str, float | None]]]) -> list[Row]:
    """Return the rows of the table: means over seeds ± half the range."""
    return [
        (
            f"`{recipe.encoder}`{', `--regions`' * recipe.regions}",
            "`models/flickr8k`" if recipe.config is None else f"`{recipe.config}`",
            *(_mean([one[score] for one in many], *form) for score, form in SCORES.items()),
        )
        for recipe, many in found.items()
    ]


def _mean(measured: Sequence[float | None], factor: int, digits: int) -> str:
    values = [value for value in measured if value is not None]
    if not values:  # perplexities of another vocabulary cannot be compared
        return "-"
    return mean_and_spread([factor * value for value in values], digits)


@click.command()
@click.argument("captions", type=click.Path(path_type=Path, exists=True))
@click.argument("images", type=click.Path(path_type=Path, exists=True))
@click.argument("work", type=click.Path(path_type=Path))
@click.option("--only", "numbers", type=click.IntRange(1, len(RECIPES)), multiple=True, help="Measure only this row.")
def main(captions: Path, images: Path, work: Path, numbers: tuple[int, ...]) -> None:
    """Train and score; write the table of docs/own-photos.md, or with --only print some of its rows.

    CAPTIONS is Flickr8k's dataset_flickr8k.json, IMAGES the folder of its photographs, and WORK a folder for data sets
    and runs.
    """
    work.mkdir(parents=True, exist_ok=True)
    found: dict[Recipe, list[dict[str, float | None]]] = {}
    for recipe in [RECIPES[number - 1] for number in numbers] or RECIPES:
        found[recipe] = []
        for seed in SEEDS:
            data = prepare(captions, images, work, recipe, seed)
            run = work / f"{recipe.encoder}-{recipe.config}-{seed}"
            found[recipe].append(score(data, recipe, run, seed))
    if numbers:
        click.echo(table(HEAD, rows(found)))
        return
    PAGE.write_text(insert(PAGE.read_text(), table(HEAD, rows(found))))


if __name__ == "__main__":
    main()
