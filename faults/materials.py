"""Small valid files: runs, data sets, and an album of photographs with captions."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image

from captioner.config.overrides import read_overrides
from captioner.config.yaml_io import parse
from captioner.data.prepared import write_prepared
from captioner.data.scenes import example
from captioner.preparation.load_corpus import build_corpus
from captioner.training.train import train
from faults.session import TINY

PHOTOS = 8


def make_run(folder: Path, *overrides: str) -> Path:
    """Train a small run, which contains the checkpoint `last.h5`."""
    for _ in train(parse("", "", read_overrides([*TINY, "train.max_steps=3", *overrides])), folder):
        pass
    return folder


def make_prepared(path: Path, seed: int = 0) -> Path:
    """Write a prepared data set of generated images."""
    write_prepared(
        path, build_corpus(parse("", "", read_overrides([*TINY, f"data.scenes.seed={seed}"]))), {"sources": []}
    )
    return path


def make_album(folder: Path, count: int = PHOTOS, first: int = 0) -> Path:
    """Write generated images, 000.png and so on, and a CSV file of captions."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "captions.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "caption"))
        for index in range(first, first + count):
            drawn = example(0, "train", index)
            Image.fromarray(drawn.picture).save(folder / f"{index:03}.png")
            table.writerows((f"{index:03}.png", " ".join(words)) for words in drawn.captions[:2])
    return folder
