"""python -m benchmarks.few_photos DATA RUNS: train on 10 to 6,000 photographs, with and without a base model.

The base is the config `everyday`, trained on one source. Photographs of the other source are drawn at random for each
seed, a tenth of them as `val`, and its validation photographs are `test`: the base has seen none of them. Compared are
the base, training from nothing, and the config `photos`, which starts from the base. DATA has
flickr8k.json and coco.json (Karpathy's format), and flickr8k.h5 and coco.h5 (data sets with their features). Data sets,
runs and scores that exist are kept. Two processes can measure different rows, once the rows of the bases exist.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from benchmarks.flickr8k import SEEDS, Workspace, command, set_options
from benchmarks.results import insert, mean_and_spread, table
from benchmarks.session import ROOT
from captioner.config.options import FEW_IMAGES, MIN_COUNT

FIGURES = ROOT / "benchmarks" / "few_photos.json"
PAGE, PART = ROOT / "docs" / "own-photos.md", "sizes"
OTHER = {"flickr8k": "coco", "coco": "flickr8k"}
"""The source of the base, by that of the photographs."""
TITLES = {"flickr8k": "Flickr8k", "coco": "COCO"}
BASES = {f"base-{source}": source for source in TITLES}
SMALL = (
    *("model.hidden_dim=256", "model.image_input=init"),
    *("model.dropout_features=0.7", "model.dropout_embedding=0.5", "model.dropout_hidden=0.5"),
    *("train.epochs=25", "train.batch_size=64", "train.learning_rate=2e-3", "train.warmup_steps=100"),
    *("train.patience=4", "train.ema_decay=null", "decode.length_penalty=0.7"),
)
"""Options of `photos-thousands` below `FEW_IMAGES` photographs: a smaller LSTM."""

SIZES = (10, 30, 100, 290, 1000, 3000)
SCORES, USAGE = ("cider_d",), ("seconds",)

Images: TypeAlias = list[dict[str, Any]]
Draw: TypeAlias = dict[str, dict[str, float]]
"""`SCORES` of the `base`, `nothing` and `photos`; of the last two also the `USAGE`."""


class Recipe(NamedTuple):
    """A row of the table: the source of the photographs, their number, and the seed of each draw."""

    source: str
    photos: int
    seeds: tuple[int, ...]


RECIPES = {
    f"{source}-{photos}": Recipe(source, photos, SEEDS if photos in SIZES else SEEDS[:1])
    for source, most in (("flickr8k", 6000), ("coco", 5000))
    for photos in (*SIZES, most)
}


def kept(file: Path, make: Callable[..., Any], *args: object) -> Any:
    """Return the content of a JSON file; if there is none, make and write it."""
    if not file.exists():
        file.write_text(json.dumps(make(*args)))
    return json.loads(file.read_text())


def images_of(workspace: Workspace, source: str) -> Images:
    """Return the image records of a source."""
    images: Images = json.loads((workspace.data / f"{source}.json").read_text())["images"]
    return images


def prepared(workspace: Workspace, name: str, sources: Mapping[str, Images], *options: str) -> Path:
    """Prepare images of some sources with their features, unless the data set exists."""
    folder = workspace.runs / "data" / name
    output = folder / "data.h5"
    if not output.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words: list[object] = [*options]
        for source, images in sources.items():  # the name of the file is that of the source of the photographs
            (folder / f"{source}.json").write_text(json.dumps({"images": images}))
            words += [folder / f"{source}.json", "--features", workspace.data / f"{source}.h5"]
        workspace.captioner("prepare", *words, "--output", output)
    return output


def min_count(photos: int) -> tuple[str, str]:
    """Return the default of --min-count for so many photographs; `prepare` would also count those of `test`."""
    return "--min-count", str(1 if photos < FEW_IMAGES else MIN_COUNT)


def subset(images: Images, seed: int, photos: int) -> Images:
    """Draw training images as `train` and `val`; all validation images are `test`."""
    train, val = [image for image in images if image["split"] == "train"], max(1, photos // 10)
    drawn = [train[i] for i in np.random.default_rng(seed).permutation(len(train))[:photos]]
    parts = {"val": drawn[:val], "train": drawn[val:], "test": [image for image in images if image["split"] == "val"]}
    return [{**image, "split": split} for split, part in parts.items() for image in part]


def usage_of(*args: object) -> dict[str, float]:
    """Run captioner, and return its processor time in `seconds`.

    Raises: CalledProcessError when it fails.
    """
    words = [sys.executable, "-m", "captioner", *map(str, args)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)  # of this process alone, unlike RUSAGE_CHILDREN
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return {"seconds": usage.ru_utime + usage.ru_stime}


def trained(
    workspace: Workspace, name: str, seed: int, data: Path, config: str, options: Sequence[str] = ()
) -> tuple[Path, dict[str, float]]:
    """Train in one thread, unless this is done, and return the run and its usage."""
    run, file = workspace.run(name, seed), ROOT / "configs" / f"{config}.yaml"
    words = "--data", data, *set_options((f"seed={seed}", "threads=1", *options)), "--run", run, "--overwrite"
    return run, kept(workspace.runs / f"usage-{name}-{seed}.json", usage_of, "train", "-c", file, *words)


def scores_of(workspace: Workspace, model: Path, data: Path, split: str = "test", *options: str) -> dict[str, Any]:
    """Score a model on a split of a data set, with the decoding options of its config."""
    words = "--data", data, "--split", split, "--json", "-o", "threads=1", *options
    scores: dict[str, Any] = json.loads(workspace.captioner("evaluate", model, *words))
    return scores


def from_nothing(photos: int) -> tuple[str, Sequence[str]]:
    """Return the config and the options for training on so many photographs without a model."""
    return "photos-thousands", () if photos >= FEW_IMAGES else SMALL


def base(workspace: Workspace, source: str) -> tuple[Path, dict[str, Any]]:
    """Train a base on a source, and score it on `val` of the other one, unless this is done."""
    data, other = (workspace.data / f"{name}.h5" for name in (source, OTHER[source]))
    run = workspace.train(f"base-{source}", 0, "--data", data, "-o", "threads=1", config="everyday")
    return run, kept(workspace.runs / f"scores-base-{source}.json", scores_of, workspace, run, other, "val")


def score_file(workspace: Workspace, name: str, seed: int) -> Path:
    return workspace.runs / f"scores-{name}-{seed}.json"


def measure(workspace: Workspace, name: str, seed: int) -> Draw:
    """Train on the photographs of a row and a seed, from nothing and from the base, unless this is done, and score."""
    source, photos, _ = RECIPES[name]
    start, of_base = base(workspace, OTHER[source])
    images = subset(images_of(workspace, source), seed, photos)
    data = prepared(workspace, f"{name}-{seed}", {source: images}, *min_count(photos))
    scored = {"base": of_base}
    for way, recipe in {"nothing": from_nothing(photos), "photos": ("photos", [f"train.init_from={start}"])}.items():
        run, usage = trained(workspace, f"{way}-{name}", seed, data, *recipe)
        scored[way] = scores_of(workspace, run, data) | usage
    return {way: {key: part[key] for key in (*SCORES, *USAGE) if key in part} for way, part in scored.items()}


def figures(workspace: Workspace) -> dict[str, list[Draw]]:
    """Return the figures of the repository; draws that were scored in this workspace replace those of their rows."""
    scored: dict[str, list[Draw]] = json.loads(FIGURES.read_text())
    for name, recipe in RECIPES.items():
        files = [file for seed in recipe.seeds if (file := score_file(workspace, name, seed)).exists()]
        if files:
            scored[name] = [json.loads(file.read_text()) for file in files]
    return {name: scored[name] for name in RECIPES if name in scored}


def render(scored: Mapping[str, Sequence[Draw]]) -> str:
    """Return the table: means over draws ± half the range; the base is the same for all draws."""
    columns = (
        ("photos", "seconds", 1 / 60),
        *((way, score, 100) for way in ("base", "nothing", "photos") for score in SCORES),
    )
    rows = (
        (
            TITLES[RECIPES[name].source],
            f"{RECIPES[name].photos:,}",
            str(len(draws)),
            *(
                mean_and_spread([draw[way][key] * unit for draw in draws]).removesuffix(" ±0.0")
                for way, key, unit in columns
            ),
        )
        for name, draws in scored.items()
    )
    head = "scored on | photographs | draws | minutes | base | from nothing | `photos`"
    return table(head, rows)


@command([*BASES, *RECIPES], __doc__)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write the table of docs/own-photos.md."""
    for name in BASES.keys() & names:
        base(workspace, BASES[name])
    rows = [name for name in names or RECIPES if name in RECIPES]
    for seed, name in product(SEEDS, rows):  # the first draw of every row, then the second
        if seed in RECIPES[name].seeds:
            kept(score_file(workspace, name, seed), measure, workspace, name, seed)
            scored = figures(workspace)
            FIGURES.write_text(json.dumps(scored, indent=1) + "\n")
            PAGE.write_text(insert(PAGE.read_text(), render(scored), PART))


if __name__ == "__main__":
    main()
