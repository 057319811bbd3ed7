"""The thread pool: concurrency, exceptions, shards and matrix products; calls with a deadline."""

import subprocess
import sys
import threading
import weakref
from unittest import mock

import numpy as np
import pytest
from eventually import eventually
from hypothesis import given
from hypothesis import strategies as st

from captioner.parallel.thread_pool import ThreadPool


@pytest.mark.parametrize("size", [1, 2, 5])
def test_results_are_in_the_order_of_the_workers(size: int) -> None:
    pool = ThreadPool(size)
    assert pool.map(lambda worker: worker * 10) == [10 * worker for worker in range(size)]
    assert pool.map(lambda worker: -worker) == [-worker for worker in range(size)]


def test_workers_run_concurrently() -> None:
    barrier = threading.Barrier(3)
    assert len(set(ThreadPool(3).map(lambda worker: (barrier.wait(60), threading.get_ident())[1]))) == 3


def test_worker_0_is_the_calling_thread() -> None:
    assert ThreadPool(2).map(lambda worker: threading.get_ident())[0] == threading.get_ident()


def test_results_are_not_retained() -> None:
    pool = ThreadPool(2)
    kept = weakref.ref(pool.map(lambda worker: np.ones(3))[1])
    assert kept() is None


def test_threads_end_with_their_pool() -> None:
    before = set(threading.enumerate())
    pool = ThreadPool(3)
    assert set(threading.enumerate()) <= before, "threads start at the first call"
    pool.map(lambda worker: None)
    threads = set(threading.enumerate()) - before
    assert len(threads) == 2
    del pool
    for thread in threads:
        eventually(lambda thread=thread: not thread.is_alive())


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_an_exception_is_raised_after_all_workers_finish(failing: int) -> None:
    done: list[int] = []

    def work(worker: int) -> None:
        if worker == failing:
            raise ValueError(f"worker {worker}")
        threading.Event().wait(0.05)
        done.append(worker)

    with pytest.raises(ValueError, match=f"worker {failing}"):
        ThreadPool(3).map(work)
    assert sorted(done) == [worker for worker in range(3) if worker != failing]


def test_workers_use_the_callers_error_state() -> None:
    big = np.full(4, 1e300)
    with np.errstate(over="ignore"):
        assert ThreadPool(2).map(lambda worker: float((big * big)[0])) == [np.inf, np.inf]
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        ThreadPool(2).map(lambda worker: big * big if worker else None)


POOLS = [ThreadPool(size) for size in (1, 2, 3)]


@given(pool=st.sampled_from(POOLS), count=st.integers(0, 9))
def test_shards_are_contiguous_and_balanced(pool: ThreadPool, count: int) -> None:
    shards = pool.shards(count)
    assert [k for shard in shards for k in range(count)[shard]] == list(range(count))
    lengths = [shard.stop - shard.start for shard in shards]
    assert max(lengths) - min(lengths) <= 1


@given(
    pool=st.sampled_from(POOLS),
    stack=st.sampled_from([(), (4,)]),
    rows=st.integers(0, 5),
    inner=st.integers(0, 3),
    columns=st.integers(0, 5),
)
def test_matmul_matches_numpy(pool: ThreadPool, stack: tuple[int, ...], rows: int, inner: int, columns: int) -> None:
    """Also for transposed factors and a non-contiguous output."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((inner, rows)).T, rng.standard_normal((*stack, columns, inner)).swapaxes(-1, -2)
    out = np.full((*stack, rows, columns + 3), np.nan)[..., :columns]
    with mock.patch.object(ThreadPool, "min_parallel", 0):
        assert pool.matmul(x, w, out) is out
    np.testing.assert_allclose(out, x @ w, atol=1e-14)


@pytest.mark.parametrize(("rows", "columns"), [(8, 3), (3, 8)])
def test_only_large_products_are_sharded(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, shapes = ThreadPool(2), []
    monkeypatch.setattr(pool, "map", lambda work: shapes.append(work))
    out = np.zeros((rows, columns))
    pool.matmul(np.ones((rows, 2)), np.ones((2, columns)), out)
    assert (out == 2).all()
    assert not shapes
    monkeypatch.setattr(ThreadPool, "min_parallel", rows * columns * 2)
    out[...] = 0
    pool.matmul(np.ones((rows, 2)), np.ones((2, columns)), out)
    (work,) = shapes
    work(1)
    assert out.sum() == out.size, "worker 1 computes half of the product"


def test_a_process_ends_without_messages_while_a_pool_exists() -> None:
    program = "from captioner.parallel.thread_pool import ThreadPool; ThreadPool(2).map(print)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
