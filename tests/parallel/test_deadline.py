"""Calls with a deadline: results and exceptions are passed on, late work is cancelled, signals are handled."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from captioner.parallel import thread_pool
from captioner.parallel.thread_pool import call_with_deadline


@pytest.fixture
def stopped() -> Iterator[threading.Event]:
    """Ends the work of a test."""
    event = threading.Event()
    yield event
    event.set()


def test_the_result_is_returned(stopped: threading.Event) -> None:
    assert call_with_deadline(lambda: 7, 60, stopped.set) == 7
    assert call_with_deadline(lambda: None, 60, stopped.set) is None
    assert not stopped.is_set()


def test_an_exception_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        call_with_deadline(lambda: 1 / 0, 60, lambda: None)


def test_late_work_is_cancelled(stopped: threading.Event) -> None:
    ended = threading.Event()

    def work() -> None:
        stopped.wait()
        ended.set()

    with pytest.raises(TimeoutError, match=r"^not finished after 0\.05 s$"):
        call_with_deadline(work, 0.05, stopped.set)
    assert ended.is_set()


def test_work_that_ignores_its_cancellation_is_left_alone(
    stopped: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_pool, "GRACE", 0.05)
    with pytest.raises(TimeoutError):
        call_with_deadline(stopped.wait, 0.05, lambda: None)


def test_a_signal_ends_the_wait_and_cancels_the_work(stopped: threading.Event) -> None:
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call_with_deadline(stopped.wait, 60, stopped.set)
    assert stopped.is_set()
