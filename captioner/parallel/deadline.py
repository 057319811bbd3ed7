"""Calls of native code with a deadline. Python handles signals, such as SIGINT, while it waits for the result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
GRACE = 5.0
"""Seconds to wait for a cancelled call, so that it does not use a core for the rest of the process."""


def call(work: Callable[[], T], seconds: float, cancel: Callable[[], object]) -> T:
    """Return `work()`, run in a new thread; after `seconds`, call `cancel`, which should end the work.

    Raises: TimeoutError after the deadline, also if the work continues; an exception of `work`.
    """
    done: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:
            done.put((None, error))

    Thread(target=run, name="captioner-deadline", daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except Empty:
        cancel()
        with suppress(Empty):
            done.get(timeout=GRACE)
        raise TimeoutError(f"not finished after {seconds:g} s") from None
    except BaseException:  # from a signal handler
        cancel()
        raise
    if error is not None:
        raise error
    return result  # type: ignore[return-value]
