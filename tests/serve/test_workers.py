"""Workers do jobs in order, from a bounded queue, and are replaced when a job takes too long."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from captioner.serve.limits import RequestError
from captioner.serve.workers import Job, WorkerPool


class Blocker:
    """Jobs that run until they are released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def submit(self, pool: WorkerPool) -> Job[str]:
        """Submit a job, and wait until it runs."""
        running = threading.Event()

        def work() -> str:
            running.set()
            assert self.released.wait(60)
            return "late"

        job = pool.submit(work)
        assert running.wait(60)
        return job


@pytest.fixture
def blocker() -> Iterator[Blocker]:
    made = Blocker()
    yield made
    made.released.set()


def test_results_and_errors_are_those_of_the_work() -> None:
    pool = WorkerPool(2, 10)
    work: list[Callable[[], Any]] = [lambda: 1, lambda: 1 / 0, lambda: "x"]
    first, second, third = (pool.submit(one).future for one in work)
    assert (first.result(60), third.result(60)) == (1, "x")
    assert isinstance(second.exception(60), ZeroDivisionError)


def test_jobs_run_in_order() -> None:
    pool, done = WorkerPool(1, 100), list[int]()
    jobs = [pool.submit(lambda number=number: done.append(number)) for number in range(50)]  # type: ignore[misc]
    jobs[-1].future.result(60)
    assert done == list(range(50))


def test_the_queue_is_bounded(blocker: Blocker) -> None:
    pool = WorkerPool(1, 2)
    blocker.submit(pool)
    waiting = [pool.submit(lambda: 1), pool.submit(lambda: 2)]
    with pytest.raises(RequestError, match="2 photographs are waiting already; try again later") as caught:
        pool.submit(lambda: 3)
    assert caught.value.status == 503
    assert caught.value.headers == {"Retry-After": "5"}
    assert (pool.running, pool.waiting) == (1, 2)
    blocker.released.set()
    assert [job.future.result(60) for job in waiting] == [1, 2]


def test_a_waiting_job_that_is_given_up_never_runs(blocker: Blocker) -> None:
    pool, done = WorkerPool(1, 1), list[int]()
    blocker.submit(pool)
    job = pool.submit(lambda: done.append(1))
    pool.give_up(job)
    assert job.future.cancelled()
    assert pool.waiting == pool.overdue == 0
    blocker.released.set()
    pool.submit(lambda: done.append(2)).future.result(60)
    assert done == [2]


def test_a_job_that_is_cancelled_before_it_runs_ends_no_worker(blocker: Blocker) -> None:
    pool, done = WorkerPool(1, 2), list[int]()
    blocker.submit(pool)
    assert pool.submit(lambda: done.append(1)).future.cancel()
    last = pool.submit(lambda: done.append(2))
    blocker.released.set()
    last.future.result(60)
    assert done == [2]


def test_another_thread_takes_the_place_of_a_job_that_is_given_up(blocker: Blocker) -> None:
    pool = WorkerPool(1, 10)
    slow = blocker.submit(pool)
    assert not slow.future.cancel(), "it runs"
    pool.give_up(slow)
    pool.give_up(slow)
    assert pool.overdue == 1
    assert pool.submit(lambda: "quick").future.result(60) == "quick"
    blocker.released.set()
    assert slow.future.result(60) == "late"
    assert pool.submit(lambda: "after").future.result(60) == "after"


def test_threads_are_bounded_however_many_jobs_are_given_up(blocker: Blocker) -> None:
    pool = WorkerPool(2, 10)
    for _ in range(4):
        pool.give_up(blocker.submit(pool))
    assert pool.overdue == 2
    waiting = pool.submit(lambda: "at last")
    assert pool.waiting == 1
    blocker.released.set()
    assert waiting.future.result(60) == "at last"


def test_the_thread_of_a_job_that_was_given_up_ends_with_it(blocker: Blocker) -> None:
    pool, threads, began = WorkerPool(1, 10), list[threading.Thread](), threading.Event()

    def work() -> None:
        threads.append(threading.current_thread())
        began.set()
        assert blocker.released.wait(60)

    job = pool.submit(work)
    assert began.wait(60)
    pool.give_up(job)
    blocker.released.set()
    threads[0].join(60)
    assert not threads[0].is_alive()
    assert pool.overdue == pool.running == 0
