"""The BLAS library of NumPy: name, version, CPU kernel and number of threads.

NumPy has no API for the number of threads, and environment variables such as OMP_NUM_THREADS work only before NumPy is
imported. Only the functions of OpenBLAS are known, which the wheels of NumPy contain.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import warnings
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

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


def set_threads(count: int) -> None:
    """Set the number of threads of matrix products in this process; warn once if that is not possible."""
    library = _library()
    if library is not None:
        library.set_num_threads(count)
    if library is None or library.num_threads() != count:
        _warn(count)


def describe() -> Blas:
    """Return name, version, CPU kernel and current number of threads of the library."""
    library, built = _library(), _built_with()
    if library is None:
        return Blas(str(built["name"]), str(built["version"]), None, None)
    return Blas(OPENBLAS, library.version, library.architecture, library.num_threads())


@cache
def _library() -> OpenBlas | None:
    """OpenBLAS, or None if NumPy uses another library."""
    for file in Path(np.__file__).parent.glob(MODULE):
        with contextlib.suppress(LookupError, OSError):
            return OpenBlas(file)
    return None


@cache
def _built_with() -> dict[str, Any]:
    """The library that NumPy was built with; another one with the same interface may be loaded."""
    return dict(np.show_config(mode="dicts")["Build Dependencies"]["blas"])


@cache
def _warn(count: int) -> None:
    if not any(os.environ.get(variable) == str(count) for variable in VARIABLES):
        warnings.warn(
            f"the number of BLAS threads cannot be set ({describe()}), which can make training slower and its results "
            f"not reproducible; set {VARIABLES[0]}={count}, or install NumPy with pip",
            stacklevel=3,
        )
