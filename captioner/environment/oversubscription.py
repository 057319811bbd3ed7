"""More threads than cores: they take turns, and ranks that wait for each other's gradients wait for a core too."""

from __future__ import annotations

from collections.abc import Iterator

from captioner.environment.hardware import cores


def oversubscription(threads: int, processes: int) -> Iterator[str]:
    """Yield a warning if several processes of `threads` threads have too few cores on this machine.

    A process that may use only some cores is assumed to have them for itself.
    """
    usable, total = cores()
    available, wanted = (usable, threads) if usable < total else (total, threads * processes)
    if processes > 1 and wanted > available:
        fitting = available if usable < total else max(1, total // processes)
        remedy = f"-o threads={fitting}" if fitting < threads else "fewer ranks on this machine"
        yield f"{wanted} threads share {available} cores of this machine, which slows all ranks down; try {remedy}"
