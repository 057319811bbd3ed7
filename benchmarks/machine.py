"""Description of the machine and the libraries, without host names or paths."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Collection
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captioner.parallel.machine import describe_blas

BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""CPU features with products of bfloat16 numbers."""
CPUINFO = Path("/proc/cpuinfo")
"""Description of the CPU by the Linux kernel."""
FEATURES = re.compile(
    r"sse4_2|avx2?|fma|f16c|avx_\w+|avx512\w*|amx_\w+|asimd\w*|sve\w*|sme\d*|bf16|i8mm", re.ASCII | re.IGNORECASE
)
"""CPU features that matter for matrix products and element-wise functions, by their names in /proc/cpuinfo."""
EXTENSIONS = {"amx_tile": "amx", "avx512f": "avx512", "avx2": "avx2"}
"""Features of vector extensions that change which kernels the libraries choose, and their names, widest first."""
BRANDS = ("epyc", "ryzen", "xeon", "core")


class Cpu(NamedTuple):
    """What identifies a kind of CPU: vendor and model name, family and model numbers, and features."""

    vendor: str
    name: str
    family: int
    model: int
    features: Collection[str]


def this_cpu() -> Cpu:
    """Return the CPU of this machine; vendor and numbers are empty if the system does not list them."""
    keys = "vendor_id", "cpu family", "model"
    vendor, family, model = (value_of(CPUINFO, key) or "" for key in keys)
    return Cpu(vendor, cpu_model(), int(family or 0), int(model or 0), cpu_features())


def cpu_model() -> str:
    """Return the name of the CPU, or else its architecture."""
    return value_of(CPUINFO, "model name") or platform.processor() or platform.machine() or "unknown"


def cpu_features() -> list[str]:
    """Return the vector and matrix extensions of the CPU, sorted; an empty list if the system does not list them."""
    flags = value_of(CPUINFO, "flags|Features") or ""
    return sorted(flag for flag in set(flags.split()) if FEATURES.fullmatch(flag))


def value_of(file: Path, name: str) -> str | None:
    """Return the first value of a name in a kernel file of `name: value` lines."""
    try:
        match = re.search(rf"^(?:{name})\s*:\s*(.+)", file.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return match[1].strip() if match else None


def kind(cpu: Cpu) -> str:
    """Return a short name that is the same for all CPUs of a kind, such as amd-epyc-zen4.

    It does not depend on the clock rate, the number of cores or the name of a cloud's machine type.
    """
    words = re.findall(r"[a-z]+", cpu.name.lower())
    brand = [word for word in BRANDS if word in words][:1]
    if cpu.vendor == "AuthenticAMD":
        return "-".join(("amd", *brand, _zen(cpu)))
    if cpu.vendor == "GenuineIntel":
        extension = next((name for feature, name in EXTENSIONS.items() if feature in cpu.features), "sse")
        return "-".join(("intel", *brand, str(cpu.family), str(cpu.model), extension))
    return "-".join(re.findall(r"[a-z0-9]+", cpu.name.lower())) or "unknown"


def _zen(cpu: Cpu) -> str:
    """Return the generation of an AMD CPU. Zen 3 and 4 have one family, and only Zen 4 has AVX-512."""
    match cpu.family:
        case 23:
            return "zen2" if cpu.model >= 0x30 else "zen"
        case 25:
            return "zen4" if "avx512f" in cpu.features else "zen3"
        case 26:
            return "zen5"
    return f"{cpu.family}-{cpu.model}"


def has_bfloat16() -> bool:
    """Whether the CPU computes products of bfloat16 numbers."""
    return not set(BFLOAT16).isdisjoint(cpu_features())


def commit() -> str:
    """Return the commit of the working tree, with `-dirty` if tracked files have changes."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def describe() -> dict[str, str]:
    """Return the CPU, the versions of the libraries and of captioner, and date and time."""
    return {
        "CPU": f"{cpu_model()} ({kind(this_cpu())}), {os.cpu_count()} cores",
        "Python": platform.python_version(),
        "NumPy": f"{np.__version__} with {describe_blas()}",
        "PyTorch": version("torch") if find_spec("torch") else "not installed",
        "captioner": version("captioner"),
        "commit": commit(),
        "on": f"{datetime.now(UTC):%Y-%m-%d}",
        "session": f"{datetime.now(UTC):%H:%M} UTC",
    }
