"""A budget that threads share, such as for memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock


class Budget:
    """A total amount that concurrent threads reserve parts of, in order of their requests."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._free = total
        self._freed = Condition()
        self._turn = Lock()

    @contextmanager
    def reserve(self, amount: int) -> Iterator[None]:
        """Wait until `amount` is free, and reserve it for the `with` block; more than the total counts as the total."""
        amount = min(amount, self.total)
        with self._turn, self._freed:  # one thread waits at a time, so that small requests do not overtake a large one
            self._freed.wait_for(lambda: self._free >= amount)
            self._free -= amount
        try:
            yield
        finally:
            with self._freed:
                self._free += amount
                self._freed.notify()
