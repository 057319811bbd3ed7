"""Memory that is used again step after step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from captioner.arrays import Array

Empty: TypeAlias = Callable[[str, tuple[int, ...], DTypeLike], Array]
"""What `Workspace.empty` is: name, shape and type to an array of arbitrary content."""


class Workspace:
    """Arrays by name whose memory outlives them: fresh memory costs a page fault for every 4 KiB.

    One workspace serves one chain of calls, and in it the members of a team, who ask for names of their own. What a
    call hands out stands in it, and is overwritten by the next call with the same workspace.
    """

    def __init__(self) -> None:
        self._memory: dict[str, Array] = {}

    def empty(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of arbitrary content, valid until the same name is asked for again."""
        size = math.prod(shape)
        memory = self._memory.get(name)
        if memory is None or memory.size < size or memory.dtype != dtype:
            memory = self._memory[name] = np.empty(size, dtype)
        return memory[:size].reshape(shape)
