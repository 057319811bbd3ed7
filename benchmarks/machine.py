"""The machine and the libraries of a run, without names of hosts or paths."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def describe() -> dict[str, str]:
    """What a time depends on, by name."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return {
        "CPU": f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {_blas()}",
        "PyTorch": version("torch") if find_spec("torch") else "not installed",
        "captioner": version("captioner"),
        "on": date.today().isoformat(),
    }


def _blas() -> str:
    """The BLAS that NumPy came with, and where it is OpenBLAS, the kernel that it has chosen for this CPU."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    for path in Path(np.__file__).parent.glob("../numpy.libs/*openblas*"):
        core = getattr(ctypes.CDLL(str(path)), "scipy_openblas_get_corename64_", None)
        if core is not None:
            core.restype = ctypes.c_char_p
            return f"OpenBLAS {blas['version']} ({core().decode()})"
    return f"{blas['name']} {blas['version']}"
