"""Memory: options of malloc, and budgets that threads share."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Lock

from captioner.parallel.fork import renew_in_child

MALLOPT = {"M_MMAP_THRESHOLD": (-3, 32 << 20), "M_TRIM_THRESHOLD": (-1, 1 << 30), "M_ARENA_MAX": (-8, 1)}
"""Options of glibc's `mallopt` (malloc.h) and their values: arrays are allocated in one heap, which does not shrink."""
M_TOP_PAD, TOP_PAD = -2, 128 << 10
"""The number of bytes by which the heap grows at least, and its default."""
HEAP = 256 << 20
"""Bytes of the heap that may be huge pages; until they are used, they are only addresses.

glibc's `calloc` writes zeros to memory from the heap, so larger arrays of zeros than this should not fit in it.
"""
MADV_HUGEPAGE = 14
HUGE_PAGE = 2 << 20


def tune_malloc() -> None:
    """Make glibc keep freed memory for later allocations, in huge pages; has no effect with other C libraries.

    By default it returns the arrays of a training step to the kernel after every step, and the next step pays a page
    fault for every 4 KiB. With huge pages, the CPU seldom has to look up the address of a page, which takes long in
    virtual machines. Only memory that is allocated later is in huge pages, so each command calls this first.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, malloc, free, sbrk, madvise = libc.mallopt, libc.malloc, libc.free, libc.sbrk, libc.madvise
    except (AttributeError, OSError, TypeError):  # Windows has no such handle
        return
    malloc.restype = sbrk.restype = ctypes.c_void_p
    malloc.argtypes, free.argtypes, sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_void_p], [ctypes.c_ssize_t]
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for option, value in MALLOPT.values():
        mallopt(option, value)
    start = -(-sbrk(0) // HUGE_PAGE) * HUGE_PAGE
    mallopt(M_TOP_PAD, HEAP)
    free(malloc(HEAP // 16))  # the heap grows, unless it did so before
    mallopt(M_TOP_PAD, TOP_PAD)
    madvise(start, max(0, sbrk(0) - start), MADV_HUGEPAGE)


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
