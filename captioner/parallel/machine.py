"""The machine: its cores, and memory that malloc keeps for later arrays."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterator
from functools import cache


def cores() -> tuple[int, int]:
    """Return the number of logical cores that this process may use, and their total."""
    total = os.cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total, total


def oversubscription(threads: int, processes: int) -> Iterator[str]:
    """Yield a warning if several processes of `threads` threads have too few cores on this machine.

    They would take turns, and ranks that wait for each other would wait for a core too. A process that may
    use only some cores is assumed to have them for itself.
    """
    usable, total = cores()
    available, wanted = (usable, threads) if usable < total else (total, threads * processes)
    if processes > 1 and wanted > available:
        fitting = available if usable < total else max(1, total // processes)
        remedy = f"-o threads={fitting}" if fitting < threads else "fewer ranks on this machine"
        yield f"{wanted} threads share {available} cores of this machine, which slows all ranks down; try {remedy}"


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
"""Options of glibc's `mallopt`, malloc.h."""
MMAP_THRESHOLD = 32 << 20
"""The maximum of M_MMAP_THRESHOLD; larger arrays have a mapping of their own."""
TOP_PAD = 128 << 10
"""The default of M_TOP_PAD."""
HEAP = 256 << 20
"""Bytes of the heap that may be huge pages; twice as many must be below 2 GiB for `mallopt`.

`np.zeros` writes zeros to memory from the heap at once, so the heap should be too small for much larger arrays.
"""
MADV_HUGEPAGE = 14
HUGE_PAGE = 2 << 20


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for later allocations; has no effect with other C libraries.

    By default, glibc returns the arrays of a training step to the kernel after every step, and the next step pays a
    page fault for every 4 KiB.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)


@cache
def use_huge_pages() -> None:
    """Ask the kernel for transparent huge pages for the next `HEAP` bytes of the heap, which all threads then share.

    Huge pages save TLB misses, whose page walks are slow in virtual machines. Only later allocations have them, so
    commands call this first. It has no effect with other C libraries, if the user has set options of glibc, or if the
    address space is limited, which the heap would use up.
    """
    libc = _glibc()
    if libc is None or any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    limits = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA))
    if any(limit != resource.RLIM_INFINITY for limit in limits):
        return
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
    libc.sbrk.argtypes = [ctypes.c_ssize_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mallopt(M_ARENA_MAX, 1)
    libc.mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
    libc.mallopt(M_TRIM_THRESHOLD, 2 * HEAP)  # the free heap is not returned to the kernel before it is used
    start = -(-libc.sbrk(0) // HUGE_PAGE) * HUGE_PAGE
    libc.mallopt(M_TOP_PAD, HEAP)
    libc.free(libc.malloc(MMAP_THRESHOLD // 2))  # the heap grows by this and M_TOP_PAD
    libc.mallopt(M_TOP_PAD, TOP_PAD)
    libc.madvise(start, max(0, libc.sbrk(0) - start), MADV_HUGEPAGE)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc: macOS and musl have no mallopt."""
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") else None
