"""Memory allocation: keep freed memory in the process."""

from __future__ import annotations

import ctypes

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
