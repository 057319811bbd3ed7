"""Ranks: the processes that share one training run, and what they exchange. One process alone is the trivial case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from captioner.arrays import Params
from captioner.errors import CaptionerError

T = TypeVar("T")
Reduce: TypeAlias = Callable[[Params], Params]
"""Replaces arrays by their sums over all ranks."""


def identity(arrays: Params) -> Params:
    """Return the arrays of a process that has no other ranks."""
    return arrays


class Ranks:
    """All ranks, as one of them sees them; this class is one process alone.

    Each rank runs the same program, and calls these methods in the same order. Rank 0 alone writes files: `on_rank_0`.
    """

    rank = 0
    size = 1
    local_size = 1
    """The number of ranks on this machine."""

    def all_reduce(self, arrays: Params) -> Params:
        """Return the sums of arrays over all ranks, bit-identical on all of them.

        The arrays may be overwritten by the next call.
        """
        return identity(arrays)

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in the order of the ranks."""
        return [value]

    def on_rank_0(self, work: Callable[[], T]) -> T:
        """Wait for all ranks, call `work` on rank 0 alone, and return its result on all ranks.

        Raises: on rank 0 what `work` raises, on the others `OtherRankError`.
        """
        return work()

    def partition(self, items: Any) -> Any:
        """Return the share of this rank of a sequence or an array: every k-th item of k ranks."""
        return items[self.rank :: self.size]

    def all_gather_partitions(self, items: Sequence[T]) -> list[T]:
        """Return the items of all ranks in their order before `partition`."""
        parts = self.all_gather(items)
        return [parts[place % self.size][place // self.size] for place in range(sum(map(len, parts)))]


SINGLE_PROCESS = Ranks()
"""One process that shares its training with no other."""


class OtherRankError(CaptionerError):
    """The failure of another rank, which reports it."""

    def __init__(self, rank: int, exit_code: int) -> None:
        super().__init__(f"rank {rank} failed")
        self.exit_code = exit_code
