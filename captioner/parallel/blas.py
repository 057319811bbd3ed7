"""The BLAS library of NumPy: number of threads and name.

NumPy has no API for the number of threads, and OPENBLAS_NUM_THREADS works only before NumPy is imported.
"""

from __future__ import annotations

import ctypes
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FOLDERS = ("../numpy.libs", ".dylibs")


@cache
def _function(name: str) -> Any | None:
    """A function of the OpenBLAS library that NumPy has loaded, or None if NumPy uses another BLAS."""
    for folder in FOLDERS:
        for path in (Path(np.__file__).parent / folder).glob("*openblas*"):
            library = ctypes.CDLL(str(path))
            for prefix, suffix in product(("scipy_", ""), ("64_", "")):
                if hasattr(library, f"{prefix}{name}{suffix}"):
                    return getattr(library, f"{prefix}{name}{suffix}")
    return None


def set_threads(count: int) -> None:
    """Set the number of threads of matrix products; has no effect unless NumPy uses OpenBLAS."""
    set_num_threads = _function("openblas_set_num_threads")
    if set_num_threads is not None:
        set_num_threads(count)


def threads() -> int | None:
    """Return the number of threads of matrix products, or None unless NumPy uses OpenBLAS."""
    get_num_threads = _function("openblas_get_num_threads")
    return None if get_num_threads is None else int(get_num_threads())


@cache
def name() -> str:
    """Return name and version of the BLAS library, with the CPU kernel for OpenBLAS."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    corename = _function("openblas_get_corename")
    if corename is None:
        return f"{blas['name']} {blas['version']}"
    corename.restype = ctypes.c_char_p
    return f"OpenBLAS {blas['version']} ({corename().decode()})"
