"""The BLAS that NumPy came with: its number of threads, and its name.

NumPy has no call for the first, and the environment variable works only before NumPy is imported.
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
def _call(name: str) -> Any | None:
    """A call of OpenBLAS, from the library that NumPy has loaded; None where NumPy was built with another BLAS."""
    for folder in FOLDERS:
        for path in (Path(np.__file__).parent / folder).glob("*openblas*"):
            library = ctypes.CDLL(str(path))
            for before, after in product(("scipy_", ""), ("64_", "")):
                if hasattr(library, f"{before}{name}{after}"):
                    return getattr(library, f"{before}{name}{after}")
    return None


def set_threads(count: int) -> None:
    """Use so many threads in matrix products from now on; without effect where NumPy was built with another BLAS."""
    call = _call("openblas_set_num_threads")
    if call is not None:
        call(count)


@cache
def name() -> str:
    """The BLAS, its version, and where it is OpenBLAS, the kernel that it has chosen for this CPU."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    core = _call("openblas_get_corename")
    if core is None:
        return f"{blas['name']} {blas['version']}"
    core.restype = ctypes.c_char_p
    return f"OpenBLAS {blas['version']} ({core().decode()})"
