"""Shared helpers for tests of `captioner prepare`."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from captioner.config.options import Prepare
from captioner.data.corpus import Corpus
from captioner.data.prepared import prepared
from captioner.data.scenes import encode_regions, example, first_objects
from captioner.errors import DataError
from captioner.photos.prepare import Event, prepare

COUNT = 8
SCENES = {"encoder": "scenes", "min_count": 1, "val": 0.25}
EXPECTED = first_objects(encode_regions(np.stack([example(0, "train", index).picture for index in range(COUNT)])))
EXPECTED = EXPECTED.astype(np.float16)
LOUD = "not one line"


class Counted:
    """The number of photographs encoded since the last call."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> int:
        for thread in threading.enumerate():
            if thread.name.startswith("encode"):  # who was stopped may still be at work
                thread.join()
        number, self.number = self.number, 0
        return number


def events_of(photos: Path, output: Path | None = None, **options: Any) -> Iterator[Event]:
    values = {name: options.pop(name) for name in ("lists", "overwrite") if name in options}
    paths = {name: (options[name],) for name in ("images", "features") if isinstance(options.get(name), Path)}
    chosen = Prepare(**{**SCENES, **options, **paths})
    source = photos if photos.is_file() else photos / "captions.csv"
    return prepare([str(source)], output or photos.parent / "out.h5", chosen, **values)


def made(photos: Path, **options: Any) -> tuple[Corpus, list[Event]]:
    events = list(events_of(photos, **options))
    return prepared(photos.parent / "out.h5", regions=bool(options.get("regions"))), events


def refusal(photos: Path, kind: type[Exception] = DataError, **options: Any) -> str:
    before = set(os.listdir(photos.parent))
    with pytest.raises(kind) as caught:
        list(events_of(photos, **options))
    assert str(caught.value).isprintable(), LOUD
    assert set(os.listdir(photos.parent)) == before
    return str(caught.value)


def features_by_name(corpus: Corpus) -> dict[str, np.ndarray]:
    return {image: split.features[row] for split in corpus.splits.values() for row, image in enumerate(split.image_ids)}


def feature_file(folder: Path, values: np.ndarray, regions: np.ndarray | None = None, names: Any = None) -> Path:
    """Write features of 000.png and so on, or of `names`."""
    names = [f"{row:03}.png" for row in range(len(values))] if names is None else names
    with h5py.File(folder / "features.h5", "w") as file:
        file["features"], file["images"] = values, np.char.encode(names, "utf-8")
        if regions is not None:
            file["regions"] = regions
    return folder / "features.h5"
