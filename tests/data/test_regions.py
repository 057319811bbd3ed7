"""Image regions in files: read by rows or all at once, checked like features, and once per image in a batch."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from prepared_sets import WHOLE, corpus_of, split_of

from captioner.data.batches import PrefetchedBatches, ShuffledBatches, in_memory
from captioner.data.corpus import Corpus, read_regions, validate
from captioner.data.cs231n import cs231n
from captioner.data.features import memory_of
from captioner.data.prepared import prepared, write_prepared
from captioner.data.summary import summarize
from captioner.errors import DataError

RNG = np.random.default_rng(0)


def grids(images: int, rows: int = 2, columns: int = 3, width: int = 4, dtype: str = "f2") -> np.ndarray:
    return RNG.standard_normal((images, rows, columns, width)).astype(dtype)


def with_regions(corpus: Corpus, make: Callable[[int], np.ndarray] = grids) -> Corpus:
    splits = {
        name: dataclasses.replace(split, regions=make(len(split.image_ids))) for name, split in corpus.splits.items()
    }
    return dataclasses.replace(corpus, splits=splits)


def write(path: Path, values: np.ndarray, **options: Any) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("regions", data=values, **options)
    return path


@pytest.mark.parametrize("memory_mib", [0, 1, 3, 1000])
def test_a_prepared_file_returns_the_regions_within_any_memory(memory_mib: int, tmp_path: Path) -> None:
    """The regions of a split have 1.2 MiB: none, those of one split or all of them fit into the memory."""
    images = 30
    whole = with_regions(
        corpus_of(train=split_of(images, [["a"]] * images), val=split_of(images, [["a"]])),
        lambda count: grids(count, 7, 7, 420),
    )
    write_prepared(tmp_path / "a.h5", whole, {})
    corpus = prepared(tmp_path / "a.h5", memory_mib=memory_mib, regions=True)
    assert (corpus.grid, corpus.region_dim) == ((7, 7), 420)
    used = sum(memory_of(split.features, split.regions) for split in corpus.splits.values())
    assert used <= memory_mib
    assert [in_memory(split.regions) for split in corpus.splits.values()] == {
        0: [False, False], 1: [False, False], 3: [True, True], 1000: [True, True]
    }[memory_mib]  # fmt: skip
    for name, split in corpus.splits.items():
        np.testing.assert_array_equal(split.regions[:], whole.splits[name].regions)
    assert corpus.digest == whole.digest
    expected, shuffled = (ShuffledBatches(data.split("train"), 7, 0, null=0) for data in (whole, corpus))
    with PrefetchedBatches(shuffled, 10) as batches:
        for step in range(10):
            regions, other = batches.batch(step).regions, expected.batch(step).regions
            assert regions is not None
            assert other is not None
            assert regions.values.shape[1:] == (49, 420)
            np.testing.assert_array_equal(regions.values, other.values)
            np.testing.assert_array_equal(regions.index, other.index)


def test_regions_are_contiguous_and_loaded_on_request(tmp_path: Path) -> None:
    write_prepared(tmp_path / "a.h5", with_regions(WHOLE), {})
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["train/regions"].chunks is None
        assert file["train/regions"].dtype == np.float16
    without = prepared(tmp_path / "a.h5")
    assert (without.grid, without.region_dim) == ((), 0)
    assert without.train_digest == prepared(tmp_path / "a.h5", regions=True).train_digest


def test_a_prepared_file_without_regions_is_unchanged(tmp_path: Path) -> None:
    write_prepared(tmp_path / "a.h5", WHOLE, {})
    with h5py.File(tmp_path / "a.h5") as file:
        assert b"regions" not in file["meta"][()]
    assert prepared(tmp_path / "a.h5", regions=True).grid == ()


def test_regions_are_returned_in_reading_order_and_once_per_image() -> None:
    values = np.arange(24.0).reshape(2, 2, 3, 2)
    rows = read_regions(values, np.array([1, 0, 1, 1]))
    assert rows is not None
    assert rows.index.tolist() == [1, 0, 1, 1]
    assert rows.values[1].tolist() == [[12, 13], [14, 15], [16, 17], [18, 19], [20, 21], [22, 23]]


def planted(number: float) -> np.ndarray:
    values = grids(3, dtype="f4")
    values[2, 1, 0, 3] = number
    return values


WRONG = {
    "a row too few": (grids(2), "train regions: expected 3 images, one per row of features, got 2"),
    "too large": (planted(1e31), "train regions: row 2: a number is beyond 1e+30"),
    "a list of regions": (
        np.ones((3, 6, 4)), "train regions: expected floats (images, rows, columns, numbers), got float64 (3, 6, 4)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_invalid_regions_are_reported(name: str) -> None:
    values, expected = WRONG[name]
    train = dataclasses.replace(WHOLE.split("train"), regions=values)
    with pytest.raises(DataError) as caught:
        validate(corpus_of(train=train), "here")
    assert str(caught.value).startswith(f"here: {expected}")


@pytest.mark.parametrize("val", [None, grids(2, 3, 2), grids(2, width=5)])
def test_all_splits_have_regions_of_one_shape(val: np.ndarray | None) -> None:
    splits = {"train": grids(3), "val": val}
    corpus = corpus_of(
        **{name: dataclasses.replace(WHOLE.split(name), regions=regions) for name, regions in splits.items()}
    )
    got = None if val is None else val.shape[1:]
    with pytest.raises(DataError) as caught:
        validate(corpus, "here")
    assert str(caught.value) == (
        f"here: expected one shape of regions in all splits, got { {'train': (2, 3, 4), 'val': got} }; use one encoder"
    )


def test_a_summary_contains_the_grid_and_the_width() -> None:
    assert summarize(with_regions(WHOLE))["regions"] == [2, 3, 4]
    assert "regions" not in summarize(WHOLE)


@pytest.fixture
def folder(write_coco: Callable[..., Path], tmp_path: Path) -> Path:
    """The assignment's layout with regions: 4 images in train, 2 in val."""
    folder = write_coco(tmp_path / "coco")
    for split, images in (("train", 4), ("val", 2)):
        write(folder / f"{split}2014_regions.h5", grids(images))
    return folder


@pytest.mark.parametrize("memory_mib", [0, 100])
def test_the_layout_of_cs231n_may_have_regions(memory_mib: int, folder: Path) -> None:
    corpus = cs231n(folder, memory_mib=memory_mib, regions=True)
    assert (corpus.grid, corpus.region_dim) == ((2, 3), 4)
    with h5py.File(folder / "val2014_regions.h5") as file:
        np.testing.assert_array_equal(corpus.split("val").regions[:], file["regions"])
    assert cs231n(folder).grid == ()


def test_both_splits_of_cs231n_need_regions(folder: Path) -> None:
    (folder / "val2014_regions.h5").unlink()
    with pytest.raises(DataError, match=r"^.*val2014_regions\.h5: not found; expected an HDF5 file with the dataset"):
        cs231n(folder, regions=True)
    (folder / "train2014_regions.h5").unlink()
    assert cs231n(folder, regions=True).grid == ()
