"""python -m benchmarks.sources DATA RUNS: which photographs and captions of a second source help.

A small transformer is trained on Flickr8k and variants of COCO, with three seeds each, and scored on the validation
images of both, with a beam of 3. DATA has flickr8k.json and coco.json (Karpathy's format; coco.json also has
`written_by`, the origin of the captions of a photograph: people, question or model), flickr8k.h5 and coco.h5 (data sets
with their features), model.csv (captions of another model: image, caption) and text.tsv (captions without photographs:
number, caption).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from benchmarks import machine
from benchmarks.flickr8k import ALONE, SEEDS, Workspace, command, set_options
from benchmarks.results import Row, insert, mean_and_spread, table
from benchmarks.session import ROOT

PAGE = ROOT / "docs" / "results.md"
FIGURES = ROOT / "benchmarks" / "sources.json"
PART = "sources"
"""The name of the table in the marks of the page."""

Images: TypeAlias = list[dict[str, Any]]
Variant: TypeAlias = Callable[[Images, np.random.Generator, Path], Images]
"""Selects the training images of COCO for a row."""
Scored: TypeAlias = Mapping[str, Sequence[Mapping[str, float]]]
"""The CIDEr-D of each source, for each seed, by row."""


def without(images: Images, rng: np.random.Generator, data: Path, writer: str) -> Images:
    """Leave out the photographs whose captions have this origin."""
    return [image for image in images if image["written_by"] != writer]


def several(images: Images, rng: np.random.Generator, data: Path) -> Images:
    """Leave out the photographs with one caption."""
    return [image for image in images if len(image["sentences"]) > 1]


def drawn(images: Images, rng: np.random.Generator, data: Path, count: int) -> Images:
    """Keep `count` photographs, drawn at random; with the same seed, larger draws have those of smaller ones."""
    return [images[i] for i in rng.permutation(len(images))[:count]]


def beside_a_model(images: Images, rng: np.random.Generator, data: Path) -> Images:
    """Add the caption of another model to those of people."""
    with open(data / "model.csv", newline="", encoding="utf-8") as file:
        more = {row["image"]: {"raw": row["caption"]} for row in csv.DictReader(file)}
    return [
        {**image, "sentences": [*image["sentences"], more[image["filename"]]]}
        if image["written_by"] != "model" and image["filename"] in more
        else image
        for image in images
    ]


def everything(images: Images, rng: np.random.Generator, data: Path) -> Images:
    return images


TEXT = "text"
VARIANTS: dict[str, tuple[str, Variant]] = {
    "all": ("all 5,200", everything),
    "question": ("without captions from questions and answers", partial(without, writer="question")),
    "model": ("without captions of a model", partial(without, writer="model")),
    "several": ("without photographs with one caption", several),
    "beside": ("with a model's captions beside those of people", beside_a_model),
    "0": ("none", partial(drawn, count=0)),
    "500": ("500", partial(drawn, count=500)),
    "1000": ("1,000", partial(drawn, count=1000)),
    "2500": ("2,500", partial(drawn, count=2500)),
    TEXT: ("all, decoder pretrained on captions without photographs", everything),
}
"""Rows: the title, and the training images."""
SCORES = ("coco", "flickr8k", "mean")
DRAWN = ("500", "1000", "2500")
"""Rows whose photographs are drawn at random, for each seed."""
CONFIG = "everyday"
OPTIONS = (
    *("model.hidden_dim=128", "model.layers=2", "model.feed_forward_dim=512", "model.dropout_features=0.1"),
    *("model.dropout_embedding=0.1", "model.dropout_layers=0.1", "model.dropout_hidden=0.1", "threads=1"),
    *("train.epochs=3", "train.learning_rate=2e-3", "train.warmup_steps=100", "train.ema_decay=0.99"),
    *("decode.beam_width=3", *ALONE),
)
"""Smaller than the config, so that thirty models are trained in an hour."""


def dataset(workspace: Workspace, name: str, seed: int) -> Path:
    """Prepare Flickr8k and a variant of COCO, unless the data set exists."""
    images = images_of(workspace, "coco")
    train, rest = ([image for image in images if (image["split"] == "train") == is_train] for is_train in (True, False))
    kept = VARIANTS[name][1](train, np.random.default_rng(seed), workspace.data)
    sources = {"flickr8k": images_of(workspace, "flickr8k"), "coco": [*kept, *rest]}
    return prepared(workspace, f"{name}-{seed if name in DRAWN else 0}", sources)


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


def language_model(workspace: Workspace, seed: int) -> Path:
    """Train a decoder on captions without photographs: their images are the mean of the training images.

    Standardized, the mean is 0, so the image is the bias of its projection. The vocabulary and the standardizer are
    those of the photographs, with which a run of one step begins.
    """
    data = dataset(workspace, "all", seed)
    options = set_options([*OPTIONS, f"seed={seed}"])
    start = workspace.train("start", seed, "--data", data, *options, "-o", "train.max_steps=1", config=CONFIG)
    folder = workspace.runs / "data" / TEXT
    output, source, features = folder / "data.h5", folder / "text.json", folder / "means.h5"
    if not output.exists():
        with h5py.File(data) as file:
            mean = file["train/features"][:].mean(axis=0, dtype=np.float64)
        texts: dict[str, list[dict[str, str]]] = {}
        for line in (workspace.data / "text.tsv").read_text(encoding="utf-8").splitlines():
            number, caption = line.split("\t", 1)
            texts.setdefault(number, []).append({"raw": caption})
        images = [
            {"filename": f"{number}.jpg", "imgid": i, "split": "train" if i % 100 else "val", "sentences": sentences}
            for i, (number, sentences) in enumerate(texts.items())
        ]
        folder.mkdir(exist_ok=True)
        source.write_text(json.dumps({"images": images}))
        with h5py.File(features, "w") as file:
            shape = (len(images), len(mean))
            file.create_dataset("features", shape, np.float16, compression=1)[:] = mean
        words = "--features", features, "--encoder", "richer", "--max-words", 5000, "--output", output
        workspace.captioner("prepare", source, *words)
    options += ["-o", f"train.init_from={start}", "-o", "train.epochs=1"]
    return workspace.train("language", seed, "--data", output, *options, config=CONFIG)


def measure(workspace: Workspace, name: str, seed: int) -> dict[str, float]:
    """Train the model of a row and a seed, unless its run is finished, and return its CIDEr-D of each source."""
    options = [*OPTIONS, "validate.every=3"]
    if name == TEXT:
        start = language_model(workspace, SEEDS[0])
        options += [f"train.init_from={start}", "data.vocabulary=data_set"]
    data = dataset(workspace, "all" if name == TEXT else name, seed)
    run = workspace.train(name, seed, "--data", data, *set_options(options), config=CONFIG)
    scores = json.loads(workspace.captioner("evaluate", run, "--json"))
    return {source: values["cider_d"] for source, values in scores["sources"].items()} | {"mean": scores["cider_d"]}


def rows(scored: Scored) -> Iterator[Row]:
    """Yield means over seeds ± half the range, in percent."""
    for name, runs in scored.items():
        yield VARIANTS[name][0], *(mean_and_spread([100 * run[score] for run in runs]) for score in SCORES)


def render(scored: Scored) -> str:
    """Return the table."""
    return table("training photographs of COCO | CIDEr-D on COCO | on Flickr8k | mean", rows(scored))


@command(VARIANTS, __doc__)
def main(workspace: Workspace, names: tuple[str, ...]) -> None:
    """Train and score; write the table of the training photographs in docs/results.md."""
    for name in names or VARIANTS:
        scored = [measure(workspace, name, seed) for seed in SEEDS]
        old: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
        new = old | {name: scored, "machine": machine.describe()}
        FIGURES.write_text(json.dumps(new, indent=1) + "\n")
        ordered = {row: new[row] for row in VARIANTS if row in new}
        PAGE.write_text(insert(PAGE.read_text(), render(ordered), PART))


if __name__ == "__main__":
    main()
