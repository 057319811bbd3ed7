"""The number of threads of the BLAS that NumPy came with.

NumPy has no call for it, and the environment variable works only before NumPy is imported.
"""

from __future__ import annotations

import ctypes
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FOLDERS = ("../numpy.libs", ".dylibs")
NAMES = tuple("".join(parts) for parts in product(("scipy_", ""), ("openblas_set_num_threads",), ("64_", "")))


@cache
def _set() -> Any | None:
    """OpenBLAS's call, from the library that NumPy has loaded; None where NumPy was built with another BLAS."""
    for folder in FOLDERS:
        for path in (Path(np.__file__).parent / folder).glob("*openblas*"):
            library = ctypes.CDLL(str(path))
            for name in NAMES:
                if hasattr(library, name):
                    return getattr(library, name)
    return None


def set_threads(count: int) -> None:
    """Use so many threads in matrix products from now on; without effect where NumPy was built with another BLAS."""
    call = _set()
    if call is not None:
        call(count)
