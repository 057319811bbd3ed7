"""Autotuning: the fastest way to compute something is measured once per process.

All ways give equal results up to floating-point rounding. Results that use other choices are not bit-identical.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock

MARGIN = 0.9
"""Another way must take less than this share of the default's time, so that noise does not change a choice."""


class Choices:
    """Choices by name; a name that is new is measured by one thread, while others wait."""

    def __init__(self) -> None:
        self._made: dict[str, str] = {}
        self._lock = Lock()

    def choose(self, name: str, measure: Callable[[], str]) -> str:
        """Return the choice of a name; the first call measures it."""
        with self._lock:
            if name not in self._made:
                self._made[name] = measure()
            return self._made[name]

    def made(self) -> dict[str, str]:
        """Return all choices."""
        return dict(self._made)

    def restore(self, earlier: Mapping[str, str]) -> None:
        """Use the choices of an earlier process, so that results are bit-identical to its results."""
        with self._lock:
            self._made.update(earlier)


CHOICES = Choices()
"""The choices of this process."""


def fastest(times: Mapping[str, float], default: str) -> str:
    """Return the way with the shortest time; the default, unless another is clearly faster."""
    best = min(times, key=lambda name: times[name])
    return best if times[best] < MARGIN * times[default] else default
