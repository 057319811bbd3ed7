"""Training with attention on prepared regions and on those of CS231n's layout, and its resumption."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from checkpoint_arrays import assert_same_arrays
from region_runs import RegionPhotos

from captioner.data.corpus import Corpus
from captioner.data.features import ContiguousFeatures
from captioner.data.prepared import prepared, write_prepared
from captioner.data.scenes.encoder import ENCODER
from captioner.storage import checkpoint
from captioner.training.resume import resume


@pytest.fixture
def by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fits into the memory: features and regions are read by rows."""
    monkeypatch.setattr("captioner.data.features.MOST_MIB", 0)


@pytest.mark.usefixtures("by_rows")
def test_reading_by_rows_does_not_change_training(
    region_photos: RegionPhotos, train_on_regions: Callable[..., Path], region_run: Path
) -> None:
    assert isinstance(prepared(region_photos.data, regions=True).split("train").regions, ContiguousFeatures)
    run = train_on_regions("train.max_steps=6")
    assert_same_arrays(run, region_run)
    half = train_on_regions("train.max_steps=2")
    list(resume(half, ["train.max_steps=6"]))
    assert_same_arrays(half, region_run)


def test_a_resumed_run_equals_an_uninterrupted_one(train_on_regions: Callable[..., Path], region_run: Path) -> None:
    run = train_on_regions("train.max_steps=2")
    list(resume(run, ["train.max_steps=6"]))
    assert_same_arrays(run, region_run)


def test_a_checkpoint_has_the_grid_and_the_statistics_of_the_regions(
    region_photos: RegionPhotos, region_run: Path
) -> None:
    saved = checkpoint.load(region_run / "best.h5")
    assert (saved.meta.region_dim, saved.meta.grid, saved.meta.encoder) == (77, [3, 3], ENCODER)
    regions = np.asarray(prepared(region_photos.data, regions=True).split("train").regions[:], float).reshape(-1, 77)
    np.testing.assert_allclose(saved.standardizer["region_mean"], regions.mean(axis=0), atol=1e-9)


@pytest.mark.usefixtures("by_rows")
def test_self_critical_training_reads_regions_by_rows(train_on_regions: Callable[..., Path], region_run: Path) -> None:
    options = ("train.objective=self_critical", f"train.init_from={region_run}")
    run, half = train_on_regions(*options, "train.max_steps=2"), train_on_regions(*options, "train.max_steps=1")
    list(resume(half, ["train.max_steps=2"]))
    assert_same_arrays(half, run)


def changed(corpus: Corpus, change: Callable[[np.ndarray], np.ndarray], **others: Any) -> Corpus:
    splits = {
        name: dataclasses.replace(split, regions=change(split.regions[:])) for name, split in corpus.splits.items()
    }
    return dataclasses.replace(corpus, splits=splits, **others)


CHANGES: dict[str, tuple[Callable[[Corpus], Corpus], str]] = {
    "other numbers": (
        lambda c: changed(c, lambda r: 2 * r), "the features or regions have changed since training began"
    ),
    "another grid": (
        lambda c: changed(c, lambda r: r.reshape(-1, 9, 1, 77)), "regions: expected a grid of 3 x 3, got 9 x 1"
    ),
    "another width": (
        lambda c: changed(c, lambda r: r[..., :9]), "regions: expected 77 numbers per region, got 9; use the encoder"
    ),
    "another encoder": (
        lambda c: changed(c, lambda r: r, encoder="scenes-0"), f"features: expected encoder {ENCODER}, got scenes-0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_is_not_resumed_on_other_regions(
    name: str, region_photos: RegionPhotos, region_run: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    change, expected = CHANGES[name]
    write_prepared(tmp_path / "data.h5", change(prepared(region_photos.data, regions=True)), {})
    before = (region_run / "last.h5").read_bytes()
    done = cli("train", "--resume", region_run, "-o", f"data.root={tmp_path / 'data.h5'}", "-o", "train.max_steps=9")
    assert done.code in (1, 2)
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert expected in done.err
    assert (region_run / "last.h5").read_bytes() == before


def test_a_checkpoint_from_before_grids_is_resumed(train_on_regions: Callable[..., Path]) -> None:
    run = train_on_regions("train.max_steps=1")
    saved = checkpoint.load(run / "last.h5")
    meta = dataclasses.replace(saved.meta, grid=[], probe=saved.meta.probe[:3])
    checkpoint.save(run / "last.h5", dataclasses.replace(saved, meta=meta))
    list(resume(run, ["train.max_steps=2"]))
    assert checkpoint.load(run / "last.h5").meta.grid == [3, 3]


def test_regions_of_the_layout_of_cs231n_are_attended(
    train_on_regions: Callable[..., Path], write_coco: Callable[..., Path], cli: Callable[..., Any], tmp_path: Path
) -> None:
    folder = write_coco(tmp_path / "coco")
    for split, images in (("train", 4), ("val", 2)):
        with h5py.File(folder / f"{split}2014_regions.h5", "w") as file:
            file["regions"] = np.random.default_rng(0).standard_normal((images, 2, 3, 5)).astype(np.float16)
    options = ("data.source=cs231n", f"data.root={folder}", "train.max_steps=3")
    run = train_on_regions(*options)
    assert checkpoint.load(run / "best.h5").meta.grid == [2, 3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioner.data.features.MOST_MIB", 0)
        assert_same_arrays(run, train_on_regions(*options))
    done = cli("evaluate", run, "--split", "val")
    assert done.code == 0, done.err
