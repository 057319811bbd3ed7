"""Prefetched batches equal plain ones; their thread reads one batch ahead, and never delays the end of a process."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.batches import PrefetchedBatches, ShuffledBatches, in_memory
from captioner.data.corpus import Split
from captioner.data.features import open_features
from captioner.errors import DataError

PATIENCE = 30
"""Seconds after which what should happen at once has failed to."""
END = 30
"""The steps of a training, each of which reads one batch."""


class RecordedBatches:
    """Batches that are their steps; every read is noted with its thread, and may be held up or fail."""

    def __init__(self, hold: int | None = None, fail: int | None = None) -> None:
        self.hold, self.fail = hold, fail
        self.read: list[int] = []
        self.threads: set[threading.Thread] = set()
        self.began = [threading.Event() for _ in range(100)]
        self.go_on = threading.Event()

    def batch(self, step: int) -> tuple[int, int]:
        self.read.append(step)
        self.threads.add(threading.current_thread())
        self.began[step].set()
        if step == self.hold:
            assert self.go_on.wait(PATIENCE)
        if step == self.fail:
            raise DataError(f"step {step}: no such rows")
        return step, step


IMAGES, WIDTH = 40, 6
CHUNKED = {"chunks": (4, WIDTH), "compression": "gzip"}
VALUES = np.random.default_rng(3).standard_normal((IMAGES, WIDTH)).astype(np.float32)


def split_of(features: Any) -> Split:
    captions = np.arange(3 * IMAGES, dtype=np.int32)[:, None] * [1, 1, 1]
    return Split(captions, np.arange(3 * IMAGES, dtype=np.int32) // 3, features, [str(i) for i in range(IMAGES)])


def plain(features: Any = VALUES) -> ShuffledBatches:
    return ShuffledBatches(split_of(features), 16, seed=1, null=0)


def assert_same(batch: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    assert batch[2:] == other[2:]
    for got, expected in zip(batch[:2], other[:2], strict=True):
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


# --- the thread


def test_the_next_batch_is_read_in_the_background() -> None:
    batches = RecordedBatches(hold=1)
    with PrefetchedBatches(batches, END) as ahead:
        assert ahead.batch(0) == (0, 0)
        assert batches.began[1].wait(PATIENCE)
        batches.go_on.set()
        assert ahead.batch(1) == (1, 1)
        assert batches.began[2].wait(PATIENCE)
    assert batches.read == [0, 1, 2]


def test_a_repeated_step_keeps_the_prefetched_batch() -> None:
    batches = RecordedBatches()
    with PrefetchedBatches(batches, END) as ahead:
        for step in (0, 1, 1, 2):
            ahead.batch(step)
        assert batches.began[3].wait(PATIENCE)
    assert batches.read == [0, 1, 2, 1, 3]


@pytest.mark.parametrize("end", [1, 2, 5])
def test_nothing_is_prefetched_beyond_the_end(end: int) -> None:
    batches = RecordedBatches()
    with PrefetchedBatches(batches, end) as ahead:
        for step in range(end):
            ahead.batch(step)
        (thread,) = batches.threads
        ahead.close()
        thread.join(PATIENCE)
        assert batches.read == list(range(end))
    with PrefetchedBatches(batches, end) as ahead:
        assert ahead.batch(end + 1) == (end + 1, end + 1)


def failed(ahead: PrefetchedBatches) -> None:
    with pytest.raises(KeyboardInterrupt), ahead:
        raise KeyboardInterrupt


@pytest.mark.parametrize("leave", [PrefetchedBatches.close, failed])
def test_close_ends_the_thread_without_blocking(leave: Callable[[PrefetchedBatches], None]) -> None:
    batches = RecordedBatches(hold=1)
    ahead = PrefetchedBatches(batches, END)
    ahead.batch(0)
    assert batches.began[1].wait(PATIENCE)
    leave(ahead)
    (thread,) = batches.threads
    assert thread.is_alive()
    batches.go_on.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert batches.read == [0, 1]
    with pytest.raises(RuntimeError):
        ahead.batch(2)


def test_garbage_collection_ends_the_thread() -> None:
    batches = RecordedBatches()
    PrefetchedBatches(batches, END).batch(0)
    (thread,) = batches.threads
    gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_close_can_be_called_from_the_background_thread() -> None:
    """As the garbage collector does, which runs in any thread."""

    class Closing(RecordedBatches):
        def batch(self, step: int) -> tuple[int, int]:
            ahead.close()
            return super().batch(step)

    ahead = PrefetchedBatches(Closing(), 1)
    assert ahead.batch(0) == (0, 0)
