"""Members of a team work at the same time, and what goes wrong in one is not lost."""

import threading
import weakref
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.parallel.thread_pool import ThreadPool


@pytest.mark.parametrize("size", [1, 2, 5])
def test_results_come_in_the_order_of_the_members(size: int) -> None:
    pool = ThreadPool(size)
    assert pool.map(lambda worker: worker * 10) == [10 * worker for worker in range(size)]
    assert pool.map(lambda worker: -worker) == [-worker for worker in range(size)]


def test_members_work_side_by_side() -> None:
    together = threading.Barrier(3)
    assert len(set(ThreadPool(3).map(lambda worker: (together.wait(10), threading.get_ident())[1]))) == 3


def test_the_first_member_is_the_callers_thread() -> None:
    assert ThreadPool(2).map(lambda worker: threading.get_ident())[0] == threading.get_ident()


def test_results_are_not_kept() -> None:
    pool = ThreadPool(2)
    kept = weakref.ref(pool.map(lambda worker: np.ones(3))[1])
    assert kept() is None


def test_threads_end_with_their_team() -> None:
    before = set(threading.enumerate())
    pool = ThreadPool(3)
    threads = set(threading.enumerate()) - before
    assert len(threads) == 2
    del pool
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_is_raised_when_all_are_done(failing: int) -> None:
    done: list[int] = []

    def work(worker: int) -> None:
        if worker == failing:
            raise ValueError(f"member {worker}")
        threading.Event().wait(0.05)
        done.append(worker)

    with pytest.raises(ValueError, match=f"member {failing}"):
        ThreadPool(3).map(work)
    assert sorted(done) == [worker for worker in range(3) if worker != failing]


def test_numpys_error_handling_is_the_callers() -> None:
    big = np.full(4, 1e300)
    with np.errstate(over="ignore"):
        assert ThreadPool(2).map(lambda worker: float((big * big)[0])) == [np.inf, np.inf]
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        ThreadPool(2).map(lambda worker: big * big if worker else None)


TEAMS = [ThreadPool(size) for size in (1, 2, 3)]


@given(pool=st.sampled_from(TEAMS), count=st.integers(0, 9))
def test_shares_are_stretches_that_make_up_the_whole(pool: ThreadPool, count: int) -> None:
    shards = pool.shards(count)
    assert [k for shard in shards for k in range(count)[shard]] == list(range(count))
    lengths = [shard.stop - shard.start for shard in shards]
    assert max(lengths) - min(lengths) <= 1


@given(
    pool=st.sampled_from(TEAMS),
    stack=st.sampled_from([(), (4,)]),
    rows=st.integers(0, 5),
    inner=st.integers(0, 3),
    columns=st.integers(0, 5),
)
def test_products_are_products(pool: ThreadPool, stack: tuple[int, ...], rows: int, inner: int, columns: int) -> None:
    """Also into a view with gaps, of transposed factors."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((inner, rows)).T, rng.standard_normal((*stack, columns, inner)).swapaxes(-1, -2)
    out = np.full((*stack, rows, columns + 3), np.nan)[..., :columns]
    with mock.patch("captioner.parallel.thread_pool.WORTHWHILE", 0):
        assert pool.matmul(x, w, out) is out
    np.testing.assert_allclose(out, x @ w, atol=1e-14)


@pytest.mark.parametrize(("rows", "columns"), [(8, 3), (3, 8)])
def test_products_are_shared_when_they_are_worth_it(rows: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, shapes = ThreadPool(2), []
    monkeypatch.setattr(pool, "map", lambda work: shapes.append(work))
    out = np.zeros((rows, columns))
    pool.matmul(np.ones((rows, 2)), np.ones((2, columns)), out)
    assert (out == 2).all()
    assert not shapes
    monkeypatch.setattr("captioner.parallel.thread_pool.WORTHWHILE", rows * columns * 2)
    out[...] = 0
    pool.matmul(np.ones((rows, 2)), np.ones((2, columns)), out)
    (work,) = shapes
    work(1)
    assert out.sum() == out.size, "a half"
