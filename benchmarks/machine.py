"""Description of the machine and the libraries, without host names or paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from captioner.parallel.machine import describe_blas

BFLOAT16 = {"amx_bf16", "avx512_bf16"}
"""CPU features with products of bfloat16 numbers."""
CPUINFO = Path("/proc/cpuinfo")
"""Description of the CPU by the Linux kernel."""


def cpu() -> str:
    """Return the name of the CPU, or else its architecture, with the numbers of its kind if the system lists them.

    Clouds give CPUs of several generations one name.
    """
    numbers = [f"{key} {number}" for key in ("cpu family", "model") if (number := value_of(CPUINFO, key))]
    name = value_of(CPUINFO, "model name") or platform.processor() or platform.machine() or "unknown"
    return f"{name} ({', '.join(numbers)})" if numbers else name


def value_of(file: Path, name: str) -> str | None:
    """Return the first value of a name in a kernel file of `name: value` lines."""
    try:
        match = re.search(rf"^{name}\s*:\s*(.+)", file.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return match[1].strip() if match else None


def has_bfloat16() -> bool:
    """Whether the CPU computes products of bfloat16 numbers."""
    return not BFLOAT16.isdisjoint((value_of(CPUINFO, "flags") or "").split())


def commit() -> str:
    """Return the commit of the working tree, with `-dirty` if tracked files have changes."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def describe() -> dict[str, str]:
    """Return the CPU, the versions of the libraries and of captioner, and date and time."""
    return {
        "CPU": f"{cpu()}, {os.cpu_count()} cores",
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {describe_blas()}",
        "PyTorch": version("torch") if find_spec("torch") else "not installed",
        "captioner": version("captioner"),
        "commit": commit(),
        "on": f"{datetime.now(UTC):%Y-%m-%d}",
        "session": f"{datetime.now(UTC):%H:%M} UTC",
    }
