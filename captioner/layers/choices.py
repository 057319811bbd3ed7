"""Choices by measurement, made once per process: the last bits of results depend on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock


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
        self._made.update(earlier)


CHOICES = Choices()
"""The choices of this process."""
