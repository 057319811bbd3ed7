"""Check of the thread-safety of encoders."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

THREADS = 4


def check_thread_safety(encode: Callable[[], Sequence[Any]], calls: int) -> None:
    """Check that all results of so many calls in each of several threads are equal to that of a call alone."""
    expected = encode()
    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(lambda _: encode(), range(THREADS * calls)):
            for got, right in zip(found, expected, strict=True):
                np.testing.assert_array_equal(got, right)
