"""Training with prefetched features is bit-identical to training in memory."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_runs import TrainRun, assert_same_arrays, history

from captioner.arrays import Batch
from captioner.data.batches import ShuffledBatches
from captioner.files import checkpoint

CAPTIONS, IMAGES, WIDTH, TOTAL = 70, 2100, 128, 12
"""Features slightly larger than the minimum memory of 1 MiB; 5 steps per epoch, so the run ends within an epoch."""
OPTIONS = (
    "data.source=cs231n",
    "data.standardize=true",
    "train.batch_size=16",
    f"train.max_steps={TOTAL}",
    "model.dropout_features=0.2",
    "model.dropout_embedding=0.3",
)
LAYOUTS: dict[str, dict[str, Any]] = {"pages": {}, "chunks": {"chunks": (70, WIDTH), "compression": "gzip"}}


@pytest.fixture(scope="module")
def data(write_coco: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One data set per layout of the features; train and val share a feature file."""
    roots = {}
    for layout, options in LAYOUTS.items():
        root = roots[layout] = write_coco(tmp_path_factory.mktemp("data") / layout)
        rng = np.random.default_rng(0)
        with h5py.File(root / "coco2014_captions.h5", "r+") as file:
            for split in ("train", "val"):
                captions = file[f"{split}_captions"][:][rng.integers(0, 6, CAPTIONS)]
                images = rng.integers(0, IMAGES, CAPTIONS)
                for name, array in (("captions", captions), ("image_idxs", images)):
                    del file[f"{split}_{name}"]
                    file[f"{split}_{name}"] = array
        features, other = (root / f"{split}2014_vgg16_fc7_pca.h5" for split in ("train", "val"))
        with h5py.File(features, "w") as file:
            file.create_dataset("features", data=rng.standard_normal((IMAGES, WIDTH), np.float32), **options)
        other.unlink()
        other.hardlink_to(features)
    return roots


@pytest.fixture(scope="module")
def options(data: dict[str, Path]) -> Callable[..., list[str]]:
    return lambda layout, mib=1: [*OPTIONS, f"data.root={data[layout]}", f"data.memory_mib={mib}"]


@pytest.fixture(scope="module")
def in_memory(options: Callable[..., list[str]], train_run: TrainRun) -> Path:
    return train_run(*options("pages", 64))


def assert_same_training(run: Path, other: Path) -> None:
    assert history(run) == history(other)
    assert all(checkpoint.load(folder / "last.h5").meta.step == TOTAL for folder in (run, other))
    assert_same_arrays(run, other)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> set[threading.Thread]:
    """The threads that have read batches."""
    seen: set[threading.Thread] = set()
    real = ShuffledBatches.batch

    def batch(self: ShuffledBatches, step: int) -> Batch:
        assert step < TOTAL
        seen.add(threading.current_thread())
        return real(self, step)

    monkeypatch.setattr(ShuffledBatches, "batch", batch)
    return seen


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prefetching_is_bit_identical_to_training_in_memory(
    layout: str,
    options: Callable[..., list[str]],
    in_memory: Path,
    readers: set[threading.Thread],
    train_run: TrainRun,
) -> None:
    run = train_run(*options(layout))
    (reader,) = readers
    assert reader is not threading.current_thread()
    assert_same_training(run, in_memory)


@pytest.mark.parametrize("source", ["cs231n", "scenes"])
def test_features_in_memory_are_read_without_a_thread(
    source: str, options: Callable[..., list[str]], readers: set[threading.Thread], train_run: TrainRun
) -> None:
    train_run(*(options("pages", 64) if source == "cs231n" else OPTIONS[1:]), "train.max_steps=2")
    assert readers == {threading.current_thread()}
