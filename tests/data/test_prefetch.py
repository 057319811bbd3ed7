"""Prefetched batches equal plain ones, and reads that fail raise the same errors."""

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_batches import END, PATIENCE, RecordedBatches

from captioner.data.batches import PrefetchedBatches, ShuffledBatches, in_memory, sequential_batches
from captioner.data.corpus import Split
from captioner.data.features import open_features
from captioner.errors import DataError

IMAGES, WIDTH = 40, 6
CHUNKED = {"chunks": (4, WIDTH), "compression": "gzip"}
VALUES = np.random.default_rng(3).standard_normal((IMAGES, WIDTH)).astype(np.float32)


def split_of(features: Any) -> Split:
    captions = np.arange(3 * IMAGES, dtype=np.int32)[:, None] * [1, 1, 1]
    return Split(captions, np.arange(3 * IMAGES, dtype=np.int32) // 3, features, [str(i) for i in range(IMAGES)])


def plain(features: Any = VALUES) -> ShuffledBatches:
    return ShuffledBatches(split_of(features), 16, seed=1, null=0)


def assert_same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    assert one[2:] == other[2:]
    for got, expected in zip(one[:2], other[:2], strict=True):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert got.tobytes() == expected.tobytes()


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same features in memory and in files."""
    folder = tmp_path_factory.mktemp("routes")
    np.save(folder / "a.npy", VALUES)
    for name, options in (("pages", {}), ("chunks", CHUNKED)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file.create_dataset("features", data=VALUES, **options)
    return {
        "array": VALUES,
        "memmap": np.load(folder / "a.npy", mmap_mode="r"),
        "pages": open_features(folder / "pages.h5", memory_mib=0),
        "chunks": open_features(folder / "chunks.h5", memory_mib=0),
    }


@pytest.mark.parametrize("route", ["array", "memmap", "pages", "chunks"])
@settings(max_examples=25)
@given(steps=st.lists(st.integers(0, END + 3), max_size=20) | st.just(range(END + 1)))
def test_prefetched_batches_equal_plain_batches(route: str, routes: dict[str, Any], steps: Any) -> None:
    expected = plain()
    with PrefetchedBatches(plain(routes[route]), END) as ahead:
        for step in steps:
            assert_same(ahead.batch(step), expected.batch(step))


def test_an_error_is_raised_at_the_step_that_caused_it() -> None:
    batches = RecordedBatches(fail=2)
    with PrefetchedBatches(batches, END) as ahead:
        ahead.batch(1)
        assert batches.began[2].wait(PATIENCE)
        for _ in range(2):
            with pytest.raises(DataError) as caught:
                ahead.batch(2)
            assert (type(caught.value), str(caught.value)) == (DataError, "step 2: no such rows")
        assert ahead.batch(3) == (3, 3)
        assert ahead.batch(1) == (1, 1)


def test_a_damaged_chunk_raises_the_same_error_without_prefetching(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("features", data=VALUES, **CHUNKED)
        file["features"].id.write_direct_chunk((8, 0), b"not what gzip writes")
    batches = plain(open_features(tmp_path / "a.h5", memory_mib=0))
    with pytest.raises(DataError, match="cannot be read") as straight:
        read(batches, 8)
    with PrefetchedBatches(batches, END) as ahead, pytest.raises(DataError) as caught:
        read(ahead, 8)
    assert str(caught.value) == str(straight.value)


def read(batches: Any, steps: int) -> None:
    for step in range(steps):
        batches.batch(step)


class SignallingFeatures:
    """Features that signal when a background thread reads a row."""

    def __init__(self, features: Any) -> None:
        self.features, self.entered = features, threading.Semaphore(0)
        self.shape, self.dtype = features.shape, features.dtype

    def __getitem__(self, rows: Any) -> np.ndarray:
        if threading.current_thread() is not threading.main_thread():
            self.entered.release()
        return self.features[rows]


def test_validation_can_read_the_same_file_concurrently(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2000, 64)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("features", data=values, chunks=(50, 64), compression="gzip")
    rows = open_features(tmp_path / "a.h5", memory_mib=0)
    entered = SignallingFeatures(rows)
    captions, images = np.ones((2000, 3), np.int32), np.arange(2000, dtype=np.int32)
    own, of_memory = (Split(captions, images, features, []) for features in (rows, values))
    expected = ShuffledBatches(of_memory, 64, 0, null=0)
    with PrefetchedBatches(ShuffledBatches(Split(captions, images, entered, []), 64, 0, null=0), END) as ahead:
        for step in range(END):
            batch = ahead.batch(step)
            assert entered.entered.acquire(timeout=PATIENCE)
            # by now the thread is at the next batch, and here another reader begins
            for one, other in zip(
                sequential_batches(own, 100, 300), sequential_batches(of_memory, 100, 300), strict=True
            ):
                assert_same(one, other)
            assert_same(batch, expected.batch(step))


def test_a_batch_is_a_copy(routes: dict[str, Any]) -> None:
    with PrefetchedBatches(plain(routes["pages"]), END) as ahead:
        for array in ahead.batch(0)[:2]:
            array[...] = 0
        assert_same(ahead.batch(0), plain().batch(0))


def test_only_arrays_that_own_their_data_count_as_in_memory(routes: dict[str, Any]) -> None:
    assert {route: in_memory(features) for route, features in routes.items()} == {
        "array": True,
        "memmap": False,
        "pages": False,
        "chunks": False,
    }
    assert in_memory(VALUES[3:][::2].T)
    assert not in_memory(routes["memmap"][3:][::2])
    assert not in_memory(np.asarray(routes["memmap"]))
    for rows in (slice(3, None), slice(None, None, 2), [3, 4]):
        assert in_memory(routes["pages"][rows])
        assert in_memory(routes["chunks"][rows])
