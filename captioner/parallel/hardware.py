"""The hardware: CPU model and features, cores and memory."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CPUINFO, MEMINFO = Path("/proc/cpuinfo"), Path("/proc/meminfo")
"""Descriptions of the hardware by the Linux kernel."""
FEATURES = re.compile(
    r"sse4_2|avx2?|fma|f16c|avx_\w+|avx512\w*|amx_\w+|asimd\w*|sve\w*|sme\d*|bf16|i8mm", re.ASCII | re.IGNORECASE
)
"""CPU features that matter for matrix products and element-wise functions, by their names in /proc/cpuinfo."""


class Memory(NamedTuple):
    """Memory in bytes; None if unknown."""

    total: int | None
    available: int | None


def cpu_model() -> str:
    """Return the name of the CPU, or else its architecture."""
    return value_of(CPUINFO, "model name") or platform.processor() or platform.machine() or "unknown"


def cpu_features() -> list[str]:
    """Return the vector and matrix extensions of the CPU, sorted; an empty list if the system does not list them."""
    flags = value_of(CPUINFO, "flags|Features") or ""
    return sorted(flag for flag in set(flags.split()) if FEATURES.fullmatch(flag))


def cores() -> tuple[int, int]:
    """Return the number of logical cores that this process may use, and their total."""
    total = os.cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total, total


def oversubscription(threads: int, processes: int, option: str = "-o threads=") -> Iterator[str]:
    """Yield a warning if several processes of `threads` threads have too few cores on this machine.

    They would take turns, and ranks that wait for each other would wait for a core too. A process that may
    use only some cores is assumed to have them for itself.
    """
    usable, total = cores()
    available, wanted = (usable, threads) if usable < total else (total, threads * processes)
    if processes > 1 and wanted > available:
        fitting = available if usable < total else max(1, total // processes)
        remedy = f"{option}{fitting}" if fitting < threads else "fewer ranks on this machine"
        yield f"{wanted} threads share {available} cores of this machine, which slows all ranks down; try {remedy}"


def memory() -> Memory:
    """Return the total and the available memory."""
    total, available = (_kibibytes(name) for name in ("MemTotal", "MemAvailable"))
    return Memory(total or _physical_memory(), available)


def _kibibytes(name: str) -> int | None:
    value = value_of(MEMINFO, name)
    return 1024 * int(value.split()[0]) if value else None


def _physical_memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def value_of(file: Path, name: str) -> str | None:
    """Return the first value of a name in a kernel file of `name: value` lines."""
    try:
        match = re.search(rf"^(?:{name})\s*:\s*(.+)", file.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return None
    return match[1].strip() if match else None
