"""python -m benchmarks.few_photos FLICKR8K RUNS: train on 100 to 3,000 photographs, score on others.

For each seed, training photographs of Flickr8k are drawn at random. A tenth of them is `val`; the 1,000 validation
photographs of Flickr8k are `test`. Everything runs through the command line; data sets, runs and scores that exist are
kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.flickr8k import BEAM, SEEDS, Workspace, command, set_options
from benchmarks.results import Row, insert, mean_and_spread, table
from benchmarks.session import ROOT

FIGURES = ROOT / "benchmarks" / "few_photos.json"
PAGES = {"benchmark": ROOT / "docs" / "fine-tuning.md", "sizes": ROOT / "docs" / "baseline.md"}


class Recipe(NamedTuple):
    """A row of a table: the encoder, the config, further options of its data set, and the number of photographs."""

    encoder: str
    config: str
    prepare: tuple[str, ...] = ()
    photos: int = 290


RECIPES = {
    "lite0": Recipe("efficientnet-lite0", "photos"),
    "attention": Recipe("efficientnet-lite0", "photos-attention", ("--regions",)),
}
SIZES = {
    f"{config}-{photos}": Recipe("efficientnet-lite0", config, photos=photos)
    for config, photos in (
        ("photos", 100), ("photos", 290), ("photos", 1000), ("photos-thousands", 1000), ("photos-thousands", 3000),
    )
}  # fmt: skip
SCORES = {"perplexity": 1, "bleu4": 100, "cider_d": 100}
"""Scores of the first table, each with the factor to print it."""
BY_SIZE = ("bleu4", "cider_d", "alone", "nn")
"""Scores of the second table: `alone` is the CIDEr-D without re-ranking, `nn` that of the baseline."""


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
    recipe = (RECIPES | SIZES)[name]
    title = f"{recipe.encoder}{''.join(recipe.prepare)}-{recipe.photos}"
    trained = f"{title}-{recipe.config}"
    source, file = (workspace.runs / f"{part}-{seed}.json" for part in (f"captions-{title}", f"scores-{trained}"))
    if not file.exists():
        images = json.loads(workspace.references.read_text())["images"]
        source.write_text(json.dumps({"images": subset(images, seed, recipe.photos)}))
        every = workspace.prepared(f"{recipe.encoder}{''.join(recipe.prepare)}", recipe.encoder, *recipe.prepare)
        options = "--features", str(every), "--min-count", "2", *recipe.prepare
        data = workspace.prepared(f"{title}-{seed}", recipe.encoder, *options, captions=source)
        before = os.times()
        run = workspace.train(trained, seed, "--data", data, "-o", "threads=1", config=recipe.config)
        seconds = os.times().children_user - before.children_user
        words = ("evaluate", run, "--split", "test", "--json")
        scored = json.loads(workspace.captioner(*words, "--baseline", "nn"))
        scored["alone"] = json.loads(workspace.captioner(*words, *set_options(BEAM)))["cider_d"]
        sizes = [path.stat().st_size for path in (data, *run.iterdir())]
        file.write_text(json.dumps({**scored, "seconds": seconds, "bytes": sum(sizes)}))
    return json.loads(file.read_text())


Scored: TypeAlias = Mapping[str, Sequence[Mapping[str, Any]]]
"""The scores of each seed, by row."""


def rows(scored: Scored) -> Iterator[Row]:
    """Yield the rows of the table: means over seeds ± half the range."""
    for name, runs in scored.items():
        features = ", ".join(f"`{word}`" for word in (RECIPES[name].encoder, *RECIPES[name].prepare))
        cells = (mean_and_spread([factor * run[score] for run in runs]) for score, factor in SCORES.items())
        yield features, f"`{RECIPES[name].config}`", *cells


def rows_by_size(scored: Scored) -> Iterator[Row]:
    """Yield the rows of the table by number of photographs."""
    for name, runs in scored.items():
        cells = [[run["seconds"] / 60, run["bytes"] / 1e6, *(100 * run[score] for score in BY_SIZE)] for run in runs]
        gains = [100 * (run["cider_d"] - run["nn"]) for run in runs]
        columns = map(mean_and_spread, (*zip(*cells, strict=True), gains))
        yield f"{SIZES[name].photos:,}", f"`{SIZES[name].config}`", str(len(runs)), *columns


TABLES = {
    "benchmark": (RECIPES, "encoder | config | perplexity | BLEU-4 | CIDEr-D", rows),
    "sizes": (
        SIZES,
        "photographs | config | seeds | minutes | MB | BLEU-4 | CIDEr-D | not re-ranked | nearest neighbours | gain",
        rows_by_size,
    ),
}
"""The recipes, the head and the rows of each table."""


def kept(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of a run that the tables contain; `nn` is the CIDEr-D of the baseline."""
    return {name: scores[name] for name in (*SCORES, "alone", "seconds", "bytes")} | {
        "nn": scores["others"]["nn"]["cider_d"]
    }


def render(part: str, scored: Scored) -> str:
    """Return a table as Markdown."""
    recipes, head, rows_of = TABLES[part]
    return table(head, rows_of({name: scored[name] for name in recipes}))


@command(RECIPES | SIZES)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write those tables of docs/fine-tuning.md and docs/baseline.md whose rows are all measured."""
    scored = json.loads(FIGURES.read_text())
    for name in names or (RECIPES | SIZES):
        scored[name] = [kept(measure(workspace, name, seed)) for seed in SEEDS]
        FIGURES.write_text(json.dumps(scored, indent=1) + "\n")
    for part, (recipes, *_) in TABLES.items():
        if recipes.keys() <= scored.keys():
            PAGES[part].write_text(insert(PAGES[part].read_text(), render(part, scored), part))


if __name__ == "__main__":
    main()
