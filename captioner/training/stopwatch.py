"""A stopwatch that adds up wall-clock time by part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Stopwatch:
    """Wall-clock seconds spent in `with watch("part"):`, added up in `seconds` by part; parts must not be nested."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += perf_counter() - start
