"""Thread pools, budgets and calls of native code in a forked child, also if another thread uses them at the fork."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator

import pytest

from captioner.parallel import fork, thread_pool
from captioner.parallel.memory import Budget
from captioner.parallel.thread_pool import ThreadPool, call_with_deadline

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
SECONDS = 30
"""A child that takes longer hangs."""


def forked(work: Callable[[], bool]) -> bool:
    """Whether `work` returns true in a forked child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: this process has threads
        child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)  # ends a child that hangs
        is_true = False
        with contextlib.suppress(BaseException):
            is_true = work()
        os._exit(0 if is_true else 1)
    return os.waitpid(child, 0)[1] == 0


@contextlib.contextmanager
def in_thread(work: Callable[[Callable[[], object]], object]) -> Iterator[None]:
    """Run `work(pause)` in a thread; the block begins when the thread calls `pause`, which returns after the block."""
    began, end = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, args=(lambda: (began.set(), end.wait()),))
    thread.start()
    assert began.wait(SECONDS)
    yield
    end.set()
    thread.join()


def test_a_pool_works_in_a_child_and_in_its_child() -> None:
    pool = ThreadPool(3)

    def works() -> bool:
        return pool.map(lambda worker: worker) == [0, 1, 2]

    assert works()
    assert forked(lambda: works() and forked(works) and works())
    assert works()


def test_a_pool_works_in_a_child_while_a_thread_of_the_parent_uses_it() -> None:
    pool = ThreadPool(2)

    def use(pause: Callable[[], object]) -> None:
        with pool.lock:
            pool.map(lambda worker: pause())

    def works() -> bool:
        with pool.lock:
            return pool.map(lambda worker: worker) == [0, 1]

    with in_thread(use):
        assert forked(works)
    assert works()


def test_a_child_has_the_whole_budget() -> None:
    budget = Budget(10)

    def use(pause: Callable[[], object]) -> None:
        with budget.reserve(10), budget._turn, budget._freed:
            pause()

    def works() -> bool:
        with budget.reserve(10):
            return True

    with in_thread(use):
        assert forked(works)
    assert works()


@pytest.mark.parametrize("seconds", [SECONDS, None])
def test_a_fork_waits_for_calls_of_native_code(seconds: float | None) -> None:
    calls: list[str] = []

    def native() -> None:
        began.set()
        time.sleep(0.2)
        calls.append("ended")

    began = threading.Event()
    thread = threading.Thread(target=call_with_deadline, args=(native, seconds, lambda: None))
    thread.start()
    assert began.wait(SECONDS)
    assert forked(lambda: calls == ["ended"])
    thread.join()
    assert call_with_deadline(lambda: 7, SECONDS, lambda: None) == 7
    assert forked(lambda: call_with_deadline(lambda: 7, SECONDS, lambda: None) == 7)


def test_a_fork_does_not_wait_for_a_call_that_ignores_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_pool, "GRACE", 0.05)
    stop, ended = threading.Event(), threading.Event()
    with pytest.raises(TimeoutError):
        call_with_deadline(lambda: (stop.wait(SECONDS), ended.set()), 0.05, lambda: None)
    assert forked(lambda: True)
    assert not ended.is_set()
    stop.set()


def test_an_object_that_is_deleted_leaves_nothing_behind() -> None:
    before = len(fork._renewals)
    for _ in range(3):
        Budget(1)
        ThreadPool()
    assert len(fork._renewals) == before


def test_a_process_ends_without_messages_while_an_object_exists() -> None:
    program = "from captioner.parallel.thread_pool import ThreadPool; pool = ThreadPool(2)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
