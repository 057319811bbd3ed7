"""Reset threads and locks in a forked child: threads of the parent do not run there, and locks that they held stay
locked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
_renewals: WeakKeyDictionary[object, Callable[[object], object]] = WeakKeyDictionary()


def renew_in_child(instance: T, renew: Callable[[T], object]) -> None:
    """Call `renew(instance)` in each forked child while the object exists.

    `os.register_at_fork` alone would keep each object for ever.
    """
    _renewals[instance] = renew  # type: ignore[assignment]  # each key has a function of its type


def _renew_all() -> None:
    for instance, renew in list(_renewals.items()):
        renew(instance)


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_renew_all)
