"""The store of features survives interruptions, and rejects what it cannot store."""

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.errors import DataError, UsageError
from captioner.images.feature_store import FeatureStore

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((4, 5)).astype(np.float32)
DIGESTS = [hashlib.sha256(bytes([i])).digest() for i in range(4)]
SIZE = 32 + 4 + 5 * 4
F4, F2 = np.dtype(np.float32), np.dtype(np.float16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a store."""
    return tmp_path / "a.part"


def fill(path: Path, dtype: np.dtype[Any] = F4) -> int:
    """Write four records; return the length of the header."""
    with FeatureStore(path, "colours", 5, dtype) as store:
        for name, row in zip(DIGESTS, ROWS, strict=True):
            store.add(name, row)
    return path.stat().st_size - 4 * (36 + 5 * dtype.itemsize)


@pytest.mark.parametrize("dtype", [F4, F2])
def test_a_store_is_reopened_with_its_features(path: Path, dtype: np.dtype[Any]) -> None:
    fill(path, dtype)
    with FeatureStore(path, "colours", 5, dtype) as store:
        assert store.rows == {name: row for row, name in enumerate(DIGESTS)}
        features = store.features()
        assert features.dtype == dtype
        np.testing.assert_array_equal(features, ROWS.astype(dtype))
        store.add(b"x" * 32, ROWS[0] + 1)
        assert store.rows[b"x" * 32] == 4
        np.testing.assert_array_equal(store.features()[4], (ROWS[0] + 1).astype(dtype))
    np.testing.assert_array_equal(features, ROWS.astype(dtype))  # also after its end
    with pytest.raises(UsageError, match="another process writes"):  # which might cut pages off under its reader
        FeatureStore(path, "colours", 5, dtype)
    del features
    with FeatureStore(path, "colours", 5, dtype) as store:
        assert len(store.rows) == 5


def test_a_record_is_written_when_added(path: Path) -> None:
    for _ in range(2):
        with FeatureStore(path, "colours", 5, F4) as store:
            assert store.rows == {}
            assert store.features().shape == (0, 5)
    with FeatureStore(path, "colours", 5, F4) as store:
        before = path.stat().st_size
        store.add(DIGESTS[0], ROWS[0])
        assert path.stat().st_size == before + SIZE


@pytest.mark.parametrize("left", [0, 1, 35, 36, SIZE - 1])
def test_an_incomplete_record_is_truncated(path: Path, left: int) -> None:
    head = fill(path)
    os.truncate(path, head + 3 * SIZE + left)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS[:3]
        store.add(DIGESTS[3], ROWS[3])
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS
        np.testing.assert_array_equal(store.features(), ROWS)
    assert path.stat().st_size == head + 4 * SIZE


@pytest.mark.parametrize("offset", [0, 31, 32, 35, 36, SIZE - 1])
def test_records_from_a_flipped_bit_on_are_discarded(path: Path, offset: int) -> None:
    head = fill(path)
    content = bytearray(path.read_bytes())
    content[head + 2 * SIZE + offset] ^= 4
    path.write_bytes(content)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS[:2]
        np.testing.assert_array_equal(store.features(), ROWS[:2])
    assert path.stat().st_size == head + 2 * SIZE


def test_zeros_after_a_power_loss_are_not_a_record(path: Path) -> None:
    head = fill(path)
    os.truncate(path, head + SIZE)
    os.truncate(path, head + 3 * SIZE)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS[:1]


@pytest.mark.parametrize("other", [("drawn", 5, F4), ("colours", 4, F4), ("colours", 5, F2)])
def test_features_of_another_encoder_are_discarded(path: Path, other: tuple[str, int, Any]) -> None:
    fill(path)
    with FeatureStore(path, *other) as store:
        assert store.rows == {}
        store.add(DIGESTS[0], ROWS[0, : other[1]])
    with FeatureStore(path, *other) as store:
        assert list(store.rows) == DIGESTS[:1]
    with FeatureStore(path, "colours", 5, F4) as store:
        assert store.rows == {}


@pytest.mark.parametrize("length", [1, 20, 80])
def test_a_truncated_header_is_rewritten(path: Path, length: int) -> None:
    assert fill(path) > 80
    os.truncate(path, length)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert store.rows == {}
    fill(path)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS


def test_a_second_writer_is_rejected(path: Path) -> None:
    with FeatureStore(path, "colours", 5, F4) as store:
        store.add(DIGESTS[0], ROWS[0])
        for who in ("colours", "drawn"):
            with pytest.raises(UsageError) as caught:
                FeatureStore(path, who, 5, F4)
            assert str(caught.value) == f"{path}: another process writes encoded features to this file; wait for it"
        store.add(DIGESTS[1], ROWS[1])
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS[:2]


def test_a_failed_lock_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match="Input/output error"):
        FeatureStore(path, "colours", 5, F4)
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize(("dtype", "number"), [(F2, 70000), (F2, -1e30), (F4, np.inf), (F4, np.nan)])
def test_features_out_of_range_are_rejected(path: Path, dtype: np.dtype[Any], number: float) -> None:
    fill(path, dtype)
    length = path.stat().st_size
    with FeatureStore(path, "colours", 5, dtype) as store:
        with pytest.raises(DataError) as caught:
            store.add(b"x" * 32, np.array([0, 0, number, 0, 0], np.float32))
        expected = f"features: expected numbers in the range of {dtype}, got {abs(number):g}; try float32"
        assert str(caught.value) == expected
        assert list(store.rows) == DIGESTS
    assert path.stat().st_size == length


def test_a_full_disk_loses_only_the_last_record(
    path: Path, files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    head = fill(path)
    full = files_of_at_most(head + 4 * SIZE + 10)
    with pytest.raises(OSError, match="too large"), full, FeatureStore(path, "colours", 5, F4) as store:
        store.add(b"x" * 32, ROWS[0])
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS
        store.add(b"x" * 32, ROWS[0])
    with FeatureStore(path, "colours", 5, F4) as store:
        np.testing.assert_array_equal(store.features(), [*ROWS, ROWS[0]])


@pytest.mark.parametrize("dtype", [F4, F2])
def test_a_store_is_reopened_with_its_regions(path: Path, dtype: np.dtype[Any]) -> None:
    grids = RNG.standard_normal((4, 2, 3, 2)).astype(np.float32)
    with FeatureStore(path, "colours", 5, dtype, (2, 3, 2)) as store:
        for name, row, grid in zip(DIGESTS, ROWS, grids, strict=True):
            store.add(name, row, grid)
    os.truncate(path, path.stat().st_size - 1)
    with FeatureStore(path, "colours", 5, dtype, (2, 3, 2)) as store:
        assert list(store.rows) == DIGESTS[:3]
        np.testing.assert_array_equal(store.features(), ROWS[:3].astype(dtype))
        np.testing.assert_array_equal(store.regions(), grids[:3].astype(dtype))


def test_a_flipped_bit_of_a_region_is_detected(path: Path) -> None:
    with FeatureStore(path, "colours", 5, F4, (2, 3, 2)) as store:
        with pytest.raises(DataError, match=r"^regions: expected .* of float32, got inf; try float32$"):
            store.add(DIGESTS[0], ROWS[0], np.full((2, 3, 2), np.inf))
        assert store.rows == {}
        store.add(DIGESTS[0], ROWS[0], np.ones((2, 3, 2)))
    content = bytearray(path.read_bytes())
    content[-1] ^= 4
    path.write_bytes(content)
    with FeatureStore(path, "colours", 5, F4, (2, 3, 2)) as store:
        assert store.rows == {}


@pytest.mark.parametrize(("before", "after"), [(None, (2, 3, 2)), ((2, 3, 2), None), ((2, 3, 2), (3, 2, 2))])
def test_features_with_other_regions_are_discarded(
    before: tuple[int, ...] | None, after: tuple[int, ...] | None, path: Path
) -> None:
    with FeatureStore(path, "colours", 5, F4, before) as store:
        store.add(DIGESTS[0], ROWS[0], np.ones(before) if before else None)
    with FeatureStore(path, "colours", 5, F4, after) as store:
        assert (store.rows, store.discarded) == ({}, True)
        assert (store.regions() is None) == (after is None)
