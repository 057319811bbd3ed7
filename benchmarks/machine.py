"""Description of the machine and the libraries, without host names or paths."""

from __future__ import annotations

import os
import platform
from datetime import date
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np

from captioner.environment import hardware
from captioner.parallel import blas


def describe() -> dict[str, str]:
    """Return the CPU, the library versions and the date."""
    return {
        "CPU": f"{hardware.cpu_model()}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {blas.name()}",
        "PyTorch": version("torch") if find_spec("torch") else "not installed",
        "captioner": version("captioner"),
        "on": date.today().isoformat(),
    }
