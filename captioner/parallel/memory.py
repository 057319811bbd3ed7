"""Memory: keep freed memory in the process, and budgets that threads share."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from captioner.parallel.fork import renew_in_child

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's `mallopt`, malloc.h."""


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for later allocations; has no effect with other C libraries.

    By default it returns the arrays of a training step to the kernel after every step, and the next step pays a page
    fault for every 4 KiB.
    """
    try:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    except (OSError, TypeError):  # Windows has no such handle
        return
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the maximum
        mallopt(M_TRIM_THRESHOLD, 1 << 30)


class Budget:
    """A total amount that concurrent threads reserve parts of, in order of their requests; a child has all of it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._renew()
        renew_in_child(self, Budget._renew)

    def _renew(self) -> None:
        self._free = self.total
        self._freed = Condition()
        self._turn = Lock()

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Wait until `amount` is free, and reserve it for the `with` block; more than the total counts as the total."""
        amount = min(amount, self.total)
        self.acquire(amount)
        try:
            yield
        finally:
            self.release(amount)

    def acquire(self, amount: int) -> None:
        """Wait until `amount` is free, and take it."""
        with self._turn, self._freed:  # one thread waits at a time, so that small requests do not overtake a large one
            self._freed.wait_for(lambda: self._free >= amount)
            self._free -= amount

    def release(self, amount: int) -> None:
        """Give back what was taken."""
        with self._freed:
            self._free += amount
            self._freed.notify()
