"""A file whose write errors are raised when it is closed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


class DeferredErrorFile(io.FileIO):
    """File that delays its first write error to the end of the `with` block, since HDF5 crashes on a full disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._failure: OSError | None = None

    def write(self, content: Any, /) -> int:
        rest = memoryview(content).cast("B")
        try:
            while rest and self._failure is None:
                rest = rest[super().write(rest) :]
        except OSError as failure:
            self._failure = failure
        return len(content)

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as failure:
            self._failure = self._failure or failure
            return size or 0

    def __exit__(self, *problem: object) -> None:
        self.close()
        if self._failure is not None:
            raise self._failure
