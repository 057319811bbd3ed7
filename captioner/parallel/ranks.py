"""Ranks: the processes that share one job, and what they exchange. One process alone is the trivial case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import eq
from typing import Any, TypeAlias, TypeVar

from captioner.arrays import Params
from captioner.errors import CaptionerError, UsageError

S = TypeVar("S")
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

    def from_rank_0(self, value: T) -> T:
        """Wait for rank 0, and return its value on all ranks; unlike `on_rank_0`, also if rank 0 fails before.

        Raises: on the others `OtherRankError`, if rank 0 fails.
        """
        return value

    def share(self, work: Callable[[Iterable[S]], Iterator[T]], items: Iterable[S] = (), block: int = 1) -> Iterator[T]:
        """Share items of rank 0: rank 0 yields the results of `work` for all of them in order, the others none.

        `work` yields one result for each item that it is given. Each of k ranks works on every k-th block of items, and
        rank 0 receives one block of each rank at a time. One process alone does not collect its items.

        Raises: as `from_rank_0`.
        """
        return work(items)

    def partition(self, items: Any) -> Any:
        """Return the share of this rank of a sequence or an array: every k-th item of k ranks."""
        return items[self.rank :: self.size]

    def all_gather_partitions(self, items: Sequence[T]) -> list[T]:
        """Return the items of all ranks in their order before `partition`."""
        parts = self.all_gather(items)
        return [parts[place % self.size][place // self.size] for place in range(sum(map(len, parts)))]


SINGLE_PROCESS = Ranks()
"""One process that shares its work with no other."""


class OtherRankError(CaptionerError):
    """The failure of another rank, which reports it."""

    def __init__(self, rank: int, exit_code: int) -> None:
        super().__init__(f"rank {rank} failed")
        self.exit_code = exit_code


def check_same(ranks: Ranks, values: Mapping[str, Any], equal: Callable[[Any, Any], bool] = eq) -> None:
    """Check that all ranks have equal values: otherwise they would hang, or their results would be a mixture.

    Raises: UsageError, on all ranks.
    """
    first, *others = ranks.all_gather(values)
    for rank, other in enumerate(others, 1):
        if different := [name for name, value in first.items() if not equal(other[name], value)]:
            raise UsageError(
                f"--mpi: rank {rank} differs from rank 0 in {', '.join(different)}; "
                "start all ranks with the same command, files and version"
            )
