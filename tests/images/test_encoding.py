"""Encoding of many photographs: order, errors, and the store of an interrupted run."""

import errno
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from captioner.errors import DataError, UsageError
from captioner.images import photo
from captioner.images.encoding import AHEAD, Encoded, encode_photos
from captioner.images.feature_store import FeatureStore
from captioner.parallel.budget import Budget
from captioner.storage import lock

F4, F2 = np.dtype(np.float32), np.dtype(np.float16)


class Colours:
    """An encoder whose features are the mean colour; it counts encoded images."""

    identity = "colours"
    width = 3
    side = 2

    def __init__(self) -> None:
        self.calls = 0
        self.gate: Callable[[Any], object] = lambda photo: None

    def prepare(self, photo: Image.Image) -> Any:
        self.gate(photo)
        return np.asarray(photo, np.float32)

    def encode(self, batch: Any) -> Any:
        self.calls += 1
        return batch.mean(axis=(1, 2))


def write(folder: Path, count: int) -> list[Path]:
    """Photographs, the i-th of colour (i, 0, 2 i)."""
    paths = [folder / f"{i:02}.png" for i in range(count)]
    for i, path in enumerate(paths):
        Image.new("RGB", (3, 2), (i, 0, 2 * i)).save(path)
    return paths


def digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def worker_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("encode")]


@pytest.fixture(autouse=True)
def no_thread_remains() -> Iterator[None]:
    yield
    for thread in worker_threads():
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("threads", [1, 4])
def test_photographs_are_encoded_in_order(tmp_path: Path, threads: int) -> None:
    paths, encoder = write(tmp_path, 25), Colours()
    encoder.gate = lambda photo: time.sleep(0.002 if photo.getpixel((0, 0))[0] % 3 == 0 else 0)
    found = list(encode_photos(encoder, iter(paths), threads))
    assert [one.path for one in found] == paths
    assert [one.digest for one in found] == [digest(path) for path in paths]
    assert [one.features.tolist() for one in found if one.features is not None] == [[i, 0, 2 * i] for i in range(25)]
    assert all(one.problem is None for one in found)
    assert encoder.calls == 25


def test_no_photographs_yield_nothing() -> None:
    assert list(encode_photos(Colours(), [], 3)) == []


def test_unreadable_photographs_are_skipped(tmp_path: Path) -> None:
    paths = write(tmp_path, 3)
    paths[1].write_bytes(b"a dog")
    paths[1:1] = [tmp_path / "no.png", tmp_path]
    found = list(encode_photos(Colours(), paths, 2))
    assert [one.features is None for one in found] == [False, True, True, True, False]
    assert [str(one.problem) for one in found[1:3]] == [
        f"{tmp_path / 'no.png'}: not found; expected a photograph; check the name",
        f"{tmp_path}: expected a regular file, got a folder",
    ]
    assert str(found[3].problem).startswith(f"{paths[3]}: expected a photograph (")
    assert [one.digest for one in found[1:3]] == [b"", b""]
    assert found[3].digest == digest(paths[3])


def test_an_encoder_error_names_the_photograph(tmp_path: Path) -> None:
    def fails(photo: Any) -> None:
        raise DataError("m.onnx: output f: a number is not finite")

    (path,), encoder = write(tmp_path, 1), Colours()
    encoder.gate = fails
    (one,) = encode_photos(encoder, [path])
    assert str(one.problem) == f"{path}: m.onnx: output f: a number is not finite"
    assert one.digest == digest(path)


def test_known_photographs_are_not_encoded_again(tmp_path: Path) -> None:
    paths, encoder = write(tmp_path, 6), Colours()
    found = list(encode_photos(encoder, paths, 2, (digest(path) for path in paths[::2])))
    assert [one.features is None for one in found] == [True, False] * 3
    assert [(one.digest, one.problem) for one in found] == [(digest(path), None) for path in paths]
    assert encoder.calls == 3


def test_the_same_photograph_twice_has_the_same_features(tmp_path: Path) -> None:
    (path,) = write(tmp_path, 1)
    copy = tmp_path / "copy.png"
    copy.write_bytes(path.read_bytes())
    one, two, three = encode_photos(Colours(), [path, path, copy], 2)
    assert one.digest == two.digest == three.digest
    for other in (two, three):
        assert one.features is not None
        np.testing.assert_array_equal(one.features, other.features)


@pytest.mark.parametrize("problem", [ZeroDivisionError(), UsageError("no")])
def test_other_exceptions_are_raised(tmp_path: Path, problem: Exception) -> None:
    def fails(photo: Any) -> None:
        if photo.getpixel((0, 0))[0] == 2:
            raise problem

    encoder, got = Colours(), []
    encoder.gate = fails
    with pytest.raises(type(problem)):
        got.extend(encode_photos(encoder, write(tmp_path, 30), 2))
    for one in encode_photos(Colours(), write(tmp_path, 2)):
        assert one.problem is None


def test_an_exception_of_the_iterator_is_raised(tmp_path: Path) -> None:
    def paths() -> Iterator[Path]:
        yield from write(tmp_path, 2)
        raise KeyError("list")

    with pytest.raises(KeyError, match="list"):
        list(encode_photos(Colours(), paths(), 2))


def test_closing_the_generator_cancels_pending_work(tmp_path: Path) -> None:
    encoder, stopped = Colours(), threading.Event()
    paths = write(tmp_path, 40)
    found = encode_photos(encoder, paths, 2)
    next(found)
    encoder.gate = lambda photo: stopped.wait(10)
    found.close()
    before = encoder.calls
    stopped.set()
    for thread in worker_threads():
        thread.join(10)
    assert not worker_threads()
    assert encoder.calls <= before + 2
    assert encoder.calls <= AHEAD * 2 + 3


def test_read_ahead_is_bounded(tmp_path: Path) -> None:
    (path,), requested = write(tmp_path, 1), []

    def paths() -> Iterator[Path]:
        for number in range(100):
            requested.append(number)
            yield path

    found = encode_photos(Colours(), paths(), 2)
    next(found)
    assert len(requested) == AHEAD * 2 + 1
    found.close()


class Largest:
    """The largest number of photographs that are decoded and prepared at one time."""

    def __init__(self) -> None:
        self.number, self.now, self.lock = 0, 0, threading.Lock()

    def __call__(self, photo: Any) -> None:
        with self.lock:
            self.now += 1
            self.number = max(self.number, self.now)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize(("pixels", "expected"), [(6, 1), (17, 2), (1000, 4)])
def test_threads_share_a_budget_of_pixels(
    pixels: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photographs have 6 pixels, one of them has 24."""
    paths, encoder, largest = write(tmp_path, 12), Colours(), Largest()
    Image.new("RGB", (6, 4)).save(paths[5])
    encoder.gate = largest
    monkeypatch.setattr(photo, "_budget", Budget(pixels))
    assert [one.problem for one in encode_photos(encoder, paths, 4)] == [None] * 12
    assert largest.number <= expected
    assert largest.number == expected or expected > 2  # more depend on the scheduling of threads


@pytest.mark.parametrize("options", [{"progressive": True}, {}])
def test_a_progressive_jpeg_counts_at_full_size(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved: list[int] = []
    budget = Budget(1 << 30)
    monkeypatch.setattr(photo, "_budget", budget)
    monkeypatch.setattr(budget, "reserve", lambda pixels: reserved.append(pixels) or nullcontext())
    Image.new("RGB", (800, 400)).save(tmp_path / "a.jpg", **options)
    list(encode_photos(Colours(), [tmp_path / "a.jpg"]))
    assert reserved == [800 * 400 if options else 100 * 50]


RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((4, 5)).astype(np.float32)
DIGESTS = [hashlib.sha256(bytes([i])).digest() for i in range(4)]
SIZE = 32 + 4 + 5 * 4


def fill(path: Path, dtype: np.dtype[Any] = F4) -> int:
    """Write four records; return the length of the header."""
    with FeatureStore(path, "colours", 5, dtype) as store:
        for name, row in zip(DIGESTS, ROWS, strict=True):
            store.add(name, row)
    return path.stat().st_size - 4 * (36 + 5 * dtype.itemsize)


@pytest.mark.parametrize("dtype", [F4, F2])
def test_a_store_is_reopened_with_its_features(tmp_path: Path, dtype: np.dtype[Any]) -> None:
    path = tmp_path / "a.part"
    fill(path, dtype)
    with FeatureStore(path, "colours", 5, dtype) as store:
        assert store.rows == {name: row for row, name in enumerate(DIGESTS)}
        found = store.features()
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, ROWS.astype(dtype))
        store.add(b"x" * 32, ROWS[0] + 1)
        assert store.rows[b"x" * 32] == 4
        np.testing.assert_array_equal(store.features()[4], (ROWS[0] + 1).astype(dtype))
    np.testing.assert_array_equal(found, ROWS.astype(dtype))  # also after its end
    with pytest.raises(UsageError, match="another process writes"):  # which might cut pages off under its reader
        FeatureStore(path, "colours", 5, dtype)
    del found
    with FeatureStore(path, "colours", 5, dtype) as store:
        assert len(store.rows) == 5


def test_an_empty_store_has_no_rows(tmp_path: Path) -> None:
    for _ in range(2):
        with FeatureStore(tmp_path / "a.part", "colours", 5, F4) as store:
            assert store.rows == {}
            assert store.features().shape == (0, 5)


def test_a_record_is_written_when_added(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    with FeatureStore(path, "colours", 5, F4) as store:
        before = path.stat().st_size
        store.add(DIGESTS[0], ROWS[0])
        assert path.stat().st_size == before + SIZE


@pytest.mark.parametrize("left", [0, 1, 35, 36, SIZE - 1])
def test_an_incomplete_record_is_truncated(tmp_path: Path, left: int) -> None:
    path = tmp_path / "a.part"
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
def test_records_from_a_flipped_bit_on_are_discarded(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "a.part"
    head = fill(path)
    content = bytearray(path.read_bytes())
    content[head + 2 * SIZE + offset] ^= 4
    path.write_bytes(content)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS[:2]
        np.testing.assert_array_equal(store.features(), ROWS[:2])
    assert path.stat().st_size == head + 2 * SIZE


def test_zeros_after_a_power_loss_are_not_a_record(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    head = fill(path)
    os.truncate(path, head + SIZE)
    os.truncate(path, head + 3 * SIZE)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS[:1]


@pytest.mark.parametrize("other", [("drawn", 5, F4), ("colours", 4, F4), ("colours", 5, F2)])
def test_features_of_another_encoder_are_discarded(tmp_path: Path, other: tuple[str, int, Any]) -> None:
    path = tmp_path / "a.part"
    fill(path)
    with FeatureStore(path, *other) as store:
        assert store.rows == {}
        store.add(DIGESTS[0], ROWS[0, : other[1]])
    with FeatureStore(path, *other) as store:
        assert list(store.rows) == DIGESTS[:1]
    with FeatureStore(path, "colours", 5, F4) as store:
        assert store.rows == {}


@pytest.mark.parametrize("length", [1, 20, 80])
def test_a_truncated_header_is_rewritten(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.part"
    assert fill(path) > 80
    os.truncate(path, length)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert store.rows == {}
    fill(path)
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS


def test_a_second_writer_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "a.part"
    with FeatureStore(path, "colours", 5, F4) as store:
        store.add(DIGESTS[0], ROWS[0])
        for who in ("colours", "drawn"):
            with pytest.raises(UsageError) as caught:
                FeatureStore(path, who, 5, F4)
            assert str(caught.value) == f"{path}: another process writes encoded features to this file; wait for it"
        store.add(DIGESTS[1], ROWS[1])
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS[:2]


def test_a_file_system_without_locks_causes_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", failing(errno.ENOLCK))
    path = tmp_path / "a.part"
    with pytest.warns(UserWarning, match=rf"^{path}: cannot be locked \(No locks available\); make sure that no other"):
        store = FeatureStore(path, "colours", 5, F4)
    with store:
        store.add(DIGESTS[0], ROWS[0])
        assert list(store.rows) == DIGESTS[:1]


def test_a_failed_lock_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock.fcntl, "flock", failing(errno.EIO))
    before = len(os.listdir("/dev/fd"))
    with pytest.raises(OSError, match="Input/output error"):
        FeatureStore(tmp_path / "a.part", "colours", 5, F4)
    assert len(os.listdir("/dev/fd")) == before


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(("dtype", "number"), [(F2, 70000), (F2, -1e30), (F4, np.inf), (F4, np.nan)])
def test_features_out_of_range_are_rejected(tmp_path: Path, dtype: np.dtype[Any], number: float) -> None:
    path = tmp_path / "a.part"
    head = fill(path, dtype)
    length = path.stat().st_size
    with FeatureStore(path, "colours", 5, dtype) as store:
        with pytest.raises(DataError) as caught:
            store.add(b"x" * 32, np.array([0, 0, number, 0, 0], np.float32))
        got = f"{abs(number):g}"
        assert str(caught.value) == f"features: expected numbers in the range of {dtype}, got {got}; try float32"
        assert list(store.rows) == DIGESTS
    assert path.stat().st_size == length
    assert head < length


def test_a_full_disk_loses_only_the_last_record(
    tmp_path: Path, files_of_at_most: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "a.part"
    head = fill(path)
    full = files_of_at_most(head + 4 * SIZE + 10)
    with pytest.raises(OSError, match="too large"), full, FeatureStore(path, "colours", 5, F4) as store:
        store.add(b"x" * 32, ROWS[0])
    with FeatureStore(path, "colours", 5, F4) as store:
        assert list(store.rows) == DIGESTS
        store.add(b"x" * 32, ROWS[0])
    with FeatureStore(path, "colours", 5, F4) as store:
        np.testing.assert_array_equal(store.features(), [*ROWS, ROWS[0]])


def test_encoding_is_resumed_after_an_interruption(tmp_path: Path) -> None:
    paths, path = write(tmp_path, 12), tmp_path / "a.part"
    calls = []
    for stop in (5, 12):
        encoder = Colours()
        with FeatureStore(path, encoder.identity, 3, F4) as store:
            found: Iterator[Encoded] = encode_photos(encoder, paths, 2, list(store.rows))
            for _, one in zip(range(stop), found, strict=False):
                if one.features is not None:
                    store.add(one.digest, one.features)
            if stop == 12:
                rows = store.features()[[store.rows[digest(one)] for one in paths]]
                assert rows.tolist() == [[i, 0, 2 * i] for i in range(12)]
        calls.append(encoder.calls)
    assert calls[1] == 12 - 5
    assert stat.S_ISREG(path.stat().st_mode)
