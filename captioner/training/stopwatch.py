"""A stopwatch that adds up wall-clock time by part, and a meter of words per second."""

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


class SpeedMeter:
    """Words per second of wall-clock time since the last restart."""

    def __init__(self) -> None:
        self._words, self._since = 0, perf_counter()

    def add(self, words: int) -> None:
        """Count words."""
        self._words += words

    def restart(self) -> float:
        """Return the words per second, and restart the count."""
        rate = self._words / max(perf_counter() - self._since, 1e-9)
        self._words, self._since = 0, perf_counter()
        return rate
