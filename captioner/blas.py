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
NAMES = tuple("".join(parts) for parts in product(("scipy_", ""), ("openblas_{}_num_threads",), ("64_", "")))


@cache
def _calls() -> tuple[Any, Any] | None:
    """OpenBLAS's get and set, from the library that NumPy has loaded; None where NumPy was built with another BLAS."""
    for folder in FOLDERS:
        for path in (Path(np.__file__).parent / folder).glob("*openblas*"):
            library = ctypes.CDLL(str(path))
            for name in NAMES:
                if hasattr(library, name.format("set")):
                    return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


def set_threads(count: int) -> int | None:
    """Use so many threads in matrix products from now on; returns the number in use, None where it is not known."""
    calls = _calls()
    if calls is None:
        return None
    get, set_ = calls
    set_(count)
    return int(get())
