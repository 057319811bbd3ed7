"""The machine: its cores, memory that malloc keeps for later arrays, and the BLAS library of NumPy.

NumPy has no API for the number of threads, and environment variables such as OMP_NUM_THREADS work only before NumPy is
imported. Only the functions of OpenBLAS are known, which the wheels of NumPy contain.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import warnings
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple


def cores() -> tuple[int, int]:
    """Return the number of logical cores that this process may use, and their total."""
    total = os.cpu_count() or 1
    return len(os.sched_getaffinity(0)), total


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
    """Return the C library if it is glibc: musl has no mallopt."""
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") else None


OPENBLAS = "OpenBLAS"
MODULE = "*core/_multiarray_umath.*.so"
"""NumPy's module that is linked with the library and gives access to the library's functions."""
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
OPENMP = 2


class Blas(NamedTuple):
    """A BLAS library; `kernel` and `threads` are None if they are unknown."""

    name: str
    version: str
    kernel: str | None
    threads: int | None

    def __str__(self) -> str:
        return f"{self.name} {self.version}" + (f" ({self.kernel})" if self.kernel else "")


class OpenBlas:
    """The functions of OpenBLAS.

    Raises: LookupError if the file does not give access to OpenBLAS, or OpenBLAS uses OpenMP, whose number of threads
    cannot be set with OpenBLAS before 0.3.34.
    """

    def __init__(self, file: Path) -> None:
        self._library = ctypes.CDLL(str(file))
        if self._function("openblas_get_parallel")() == OPENMP:
            raise LookupError
        self.set_num_threads = self._function("openblas_set_num_threads")
        self.num_threads = self._function("openblas_get_num_threads")
        config, corename = self._function("openblas_get_config"), self._function("openblas_get_corename")
        config.restype = corename.restype = ctypes.c_char_p
        self.version = config().decode().split()[1]
        self.architecture = corename().decode()

    def _function(self, name: str) -> Any:
        for prefix, suffix in product(("scipy_", ""), ("64_", "", "_64")):
            if hasattr(self._library, f"{prefix}{name}{suffix}"):
                return getattr(self._library, f"{prefix}{name}{suffix}")
        raise LookupError


def set_blas_threads(count: int) -> None:
    """Set the number of threads of matrix products in this process; warn once if that is not possible."""
    library = _library()
    if library is not None:
        library.set_num_threads(count)
    if library is None or library.num_threads() != count:
        _warn(count)


def describe_blas() -> Blas:
    """Return name, version, CPU kernel and current number of threads of the library."""
    library, built = _library(), _built_with()
    if library is None:
        return Blas(str(built["name"]), str(built["version"]), None, None)
    return Blas(OPENBLAS, library.version, library.architecture, library.num_threads())


@cache
def _library() -> OpenBlas | None:
    """OpenBLAS, or None if NumPy uses another library."""
    import numpy as np  # here, so that commands ask for huge pages before it is imported

    for file in Path(np.__file__).parent.glob(MODULE):
        with contextlib.suppress(LookupError, OSError):
            return OpenBlas(file)
    return None


@cache
def _built_with() -> dict[str, Any]:
    """The library that NumPy was built with; another one with the same interface may be loaded."""
    import numpy as np

    return dict(np.show_config(mode="dicts")["Build Dependencies"]["blas"])


@cache
def _warn(count: int) -> None:
    if not any(os.environ.get(variable) == str(count) for variable in VARIABLES):
        warnings.warn(
            f"the number of BLAS threads cannot be set ({describe_blas()}), which can make training slower and its "
            f"results not reproducible; set {VARIABLES[0]}={count}, or install NumPy with pip",
            stacklevel=3,
        )
