"""The one way in which tests wait: for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], seconds: float = 60) -> T:
    """Return the first true value of a condition.

    The limit only ends a test that would wait for ever: it is far above what a slow and loaded machine needs.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not true within {seconds:g} s; the last value was {value!r}"
        time.sleep(0.02)
    return value
