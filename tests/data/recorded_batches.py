"""Batches that record their reads, for tests of prefetching."""

import threading

from captioner.errors import DataError

PATIENCE = 30
"""Seconds after which what should happen at once has failed to."""
END = 30
"""The steps of a training, each of which reads one batch."""


class RecordedBatches:
    """Batches that are their steps; every read is noted with its thread, and may be held up or fail."""

    def __init__(self, hold: int | None = None, fail: int | None = None) -> None:
        self.hold, self.fail = hold, fail
        self.read: list[int] = []
        self.threads: set[threading.Thread] = set()
        self.began = [threading.Event() for _ in range(100)]
        self.go_on = threading.Event()

    def batch(self, step: int) -> tuple[int, int]:
        self.read.append(step)
        self.threads.add(threading.current_thread())
        self.began[step].set()
        if step == self.hold:
            assert self.go_on.wait(PATIENCE)
        if step == self.fail:
            raise DataError(f"step {step}: no such rows")
        return step, step
