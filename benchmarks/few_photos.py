"""python -m benchmarks.few_photos FLICKR8K RUNS: train on 290 photographs, score on others.

For each seed, 290 training photographs of Flickr8k are drawn at random. A tenth of them is `val`; the 1,000 validation
photographs of Flickr8k are `test`. If FLICKR8K is beside a folder `coco` with `captions.csv` and 130 photographs in
`images`, models are also fine-tuned on 60 of these, validated on 20 and scored on 50, and on the validation photographs
of Flickr8k. Everything runs through the command line; data sets and runs that exist are kept.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.flickr8k import SEEDS, Workspace, command
from benchmarks.results import Row, insert, mean_and_spread, table
from benchmarks.session import ROOT

PAGE = ROOT / "docs" / "fine-tuning.md"
PHOTOS, VAL = 290, 29
MODEL = ROOT / "models" / "flickr8k.h5"
"""The trained model. It was trained on all training photographs of Flickr8k, so it is fine-tuned on others alone."""


class Recipe(NamedTuple):
    """A row of a table: the encoder, the config, and further options of its data set and of its training.

    Without a config, `MODEL` is scored as it is.
    """

    encoder: str
    config: str | None
    prepare: tuple[str, ...] = ()
    train: tuple[str, ...] = ()


RECIPES = {
    "lite0": Recipe("efficientnet-lite0", "photos"),
    "attention": Recipe("efficientnet-lite0", "photos-attention", ("--regions",)),
    "richer": Recipe("richer", "photos-attention", ("--regions",)),
}
OTHERS = {
    "coco-model": Recipe("richer", None),
    "coco-scratch": Recipe("richer", "photos", (), ("-o", "train.warmup_steps=10", "-o", "train.epochs=60")),
    "coco-finetuned": Recipe(
        "richer", "photos-finetune", (), ("-o", f"train.init_from={MODEL}", "-o", "train.warmup_steps=5")
    ),
}
"""Rows of the table of photographs of another kind than Flickr8k's."""
OTHERS_SPLITS = ("train",) * 60 + ("val",) * 20 + ("test",) * 50
SCORES = {"perplexity": 1, "bleu4": 100, "cider_d": 100, "flickr8k": 100}
"""Scores of the tables, each with the factor to print it."""


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
    scores = _scores(workspace, _trained(workspace, recipe, f"{recipe.encoder}-{recipe.config}", seed, data), data)
    return {score: scores[score] for score in ("perplexity", "bleu4", "cider_d")}


def measure_others(workspace: Workspace, name: str, seed: int) -> dict[str, float]:
    """Train a recipe on photographs of another kind, and score its captions of these and of Flickr8k."""
    recipe, others = OTHERS[name], Workspace(_others(workspace), workspace.runs)
    source = workspace.runs / f"coco-{seed}.csv"
    with open(others.data / "captions.csv", newline="") as file:
        captions = list(csv.DictReader(file))
    images = np.random.default_rng(seed).permutation(sorted({row["image"] for row in captions})).tolist()
    splits = dict(zip(images, OTHERS_SPLITS, strict=True))
    with open(source, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "caption", "split"))
        table.writerows((row["image"], row["caption"], splits[row["image"]]) for row in captions)
    data = others.prepared(f"{recipe.encoder}-{seed}", recipe.encoder, "--min-count", "2", captions=source)
    run = _trained(workspace, recipe, name, seed, data)
    scores = _scores(workspace, run, data)
    flickr8k = _scores(workspace, run, workspace.prepared(recipe.encoder, recipe.encoder), "val")
    return {"bleu4": scores["bleu4"], "cider_d": scores["cider_d"], "flickr8k": flickr8k["cider_d"]}


def _others(workspace: Workspace) -> Path:
    return workspace.data.parent / "coco"


def _trained(workspace: Workspace, recipe: Recipe, name: str, seed: int, data: Path) -> Path:
    """Return the run of a recipe, or the model that is scored as it is."""
    if recipe.config is None:
        return MODEL
    return workspace.train(name, seed, "--data", data, "-o", "threads=1", *recipe.train, config=recipe.config)


def _scores(workspace: Workspace, run: Path, data: Path, split: str = "test") -> dict[str, Any]:
    scores: dict[str, Any] = json.loads(
        workspace.captioner("evaluate", run, "--data", data, "--split", split, "--json")
    )
    return scores


Scored: TypeAlias = Mapping[str, Sequence[Mapping[str, float]]]
"""The scores of each seed, by row."""


def rows(scored: Scored) -> Iterator[Row]:
    """Yield the rows of the table: means over seeds ± half the range."""
    for name, runs in scored.items():
        features = ", ".join(f"`{word}`" for word in (RECIPES[name].encoder, *RECIPES[name].prepare))
        yield features, f"`{RECIPES[name].config}`", *_cells(runs)


def rows_of_others(scored: Scored) -> Iterator[Row]:
    """Yield the rows of the table of other photographs."""
    for name, runs in scored.items():
        yield f"`{OTHERS[name].config or 'models/flickr8k.h5'}`", *_cells(runs)


def _cells(runs: Sequence[Mapping[str, float]]) -> Iterator[str]:
    for score in runs[0]:
        yield mean_and_spread([SCORES[score] * run[score] for run in runs])


@command((*RECIPES, *OTHERS))
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write the tables of docs/fine-tuning.md, or with --only print some of their rows."""
    chosen = names or (*RECIPES, *(OTHERS if _others(workspace).exists() else ()))
    scored = {name: [measure(workspace, name, seed) for seed in SEEDS] for name in chosen if name in RECIPES}
    others = {name: [measure_others(workspace, name, seed) for seed in SEEDS] for name in chosen if name in OTHERS}
    for text, part in (
        (table("encoder | config | perplexity | BLEU-4 | CIDEr-D", rows(scored)), "benchmark"),
        (table("config | BLEU-4 | CIDEr-D | CIDEr-D on Flickr8k", rows_of_others(others)), "others"),
    ):
        if names:
            print(text)
        elif text:
            PAGE.write_text(insert(PAGE.read_text(), text, part))


if __name__ == "__main__":
    main()
