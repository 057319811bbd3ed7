"""Reset threads and locks in a forked child: threads of the parent do not run there, and locks that they held stay
locked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod

_methods: set[WeakMethod[Callable[[], object]]] = set()


def renew_in_child(renew: Callable[[], object]) -> None:
    """Call a method in each forked child while its object exists; `os.register_at_fork` keeps objects for ever."""
    _methods.add(WeakMethod(renew, _methods.discard))


def _renew_all() -> None:
    for method in list(_methods):
        if (renew := method()) is not None:
            renew()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_all)
