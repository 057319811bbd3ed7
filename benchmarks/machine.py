"""Description of the machine and the libraries, without host names or paths."""

from __future__ import annotations

import os
import platform
import re
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from captioner.parallel import blas


def describe() -> dict[str, str]:
    """Return the CPU, the library versions and the date."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else None
    return {
        "CPU": f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {blas.name()}",
        "PyTorch": version("torch") if find_spec("torch") else "not installed",
        "captioner": version("captioner"),
        "on": date.today().isoformat(),
    }
