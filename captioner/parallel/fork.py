"""What a forked child must renew: the threads of its parent do not run in it, and locks that they held stay locked."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from weakref import WeakSet


class Renewed(ABC):
    """An object with threads or locks, which `renew` makes: for a new object, and again in each forked child."""

    def __init__(self) -> None:
        self.renew()
        _objects.add(self)

    @abstractmethod
    def renew(self) -> None:
        """Set the attributes that belong to the process."""


_objects: WeakSet[Renewed] = WeakSet()


def _renew_all() -> None:
    for instance in list(_objects):
        instance.renew()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_all)
