"""The cores of the machine, and whether they suffice."""

from __future__ import annotations

import os
from collections.abc import Iterator


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
