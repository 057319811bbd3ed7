"""Ranks: the processes that share one job, and what they exchange. One process alone is the trivial case; several use
MPI, and only `start_mpi` imports mpi4py.
"""

from __future__ import annotations

import locale
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import CaptionerError, MissingLibraryError, UsageError

if TYPE_CHECKING:
    from mpi4py import MPI


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
"""One process that shares its work with no other."""


class OtherRankError(CaptionerError):
    """The failure of another rank, which reports it."""

    def __init__(self, rank: int, exit_code: int) -> None:
        super().__init__(f"rank {rank} failed")
        self.exit_code = exit_code


def check_same(ranks: Ranks, values: Mapping[str, Any]) -> None:
    """Check that all ranks have equal values: otherwise they would hang, or their results would be a mixture.

    Raises: UsageError, on all ranks.
    """
    first, *others = ranks.all_gather(values)
    for rank, other in enumerate(others, 1):
        if different := [name for name, value in first.items() if other[name] != value]:
            raise UsageError(
                f"--mpi: rank {rank} differs from rank 0 in {', '.join(different)}; "
                "start all ranks with the same command, files and version"
            )


COUNTS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Environment variables with the number of processes that a launcher started."""
LAUNCHED = (*COUNTS, "PMIX_RANK", "PMI_RANK")
"""Environment variables that only launchers set."""
END_SECONDS, POLL_SECONDS = 5.0, 0.01
"""How long a rank that ends waits for all others to end too, and how often a rank that waits looks."""
LAST_SECONDS = 60.0
"""How long the other ranks wait for rank 0 to end them."""
FORWARD_SECONDS = 0.3
"""How long the launcher has to forward the last message: when a rank aborts, MPICH discards what it has not read."""


def start_mpi() -> MpiRanks:
    """Initialize MPI, and return the ranks that the launcher started.

    Raises: MissingLibraryError without mpi4py; UsageError without an MPI library, a launcher, or one that belongs to
    this library.
    """
    character_type = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")  # in Turkish, where i is not the small I, UCX refuses its own defaults
    try:
        import mpi4py

        mpi4py.rc.thread_level = "funneled"  # only the main thread communicates
        from mpi4py import MPI
    except ImportError as error:
        raise MissingLibraryError(error, "--mpi ") from None
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"--mpi: mpi4py found no MPI library ({reason}); load the MPI module of the cluster, or install the "
            "package mpich"
        ) from None
    finally:
        locale.setlocale(locale.LC_CTYPE, character_type)
    ranks = MpiRanks(MPI)
    if ranks.size == 1 and not any(map(os.environ.get, LAUNCHED)):
        raise UsageError(
            "--mpi: expected several processes, got one without a launcher; "
            "try mpiexec -n 2 captioner ..., or leave out --mpi"
        )
    counts = {name: os.environ.get(name, "1") for name in COUNTS}
    if ranks.size == 1 and (several := [name for name, count in counts.items() if count.isdigit() and int(count) > 1]):
        library = " ".join(MPI.Get_library_version().strip("\0\n").splitlines()[0].split())
        raise UsageError(
            f"--mpi: expected {counts[several[0]]} ranks from {several[0]}, got separate processes: the launcher "
            f"belongs to another MPI library than that of mpi4py ({library}); use its mpiexec"
        )
    return ranks


class MpiRanks(Ranks):
    """The ranks of MPI's world communicator.

    Sums are bit-identical in every run with the same number of ranks: each rank adds one slice of the arrays of all
    ranks in the order of the ranks, so the traffic is that of a ring and no MPI library chooses the order.
    """

    def __init__(self, mpi: Any) -> None:
        self._world: MPI.Intracomm = mpi.COMM_WORLD
        self._ends: MPI.Intracomm = self._world.Dup()
        self.rank, self.size = self._world.rank, self._world.size
        self.local_size = self._world.Split_type(mpi.COMM_TYPE_SHARED).size
        self._leading = self._ends_alone = False
        self._buffers: dict[tuple[Any, int], tuple[Array, Array]] = {}

    def all_reduce(self, arrays: Params) -> Params:
        if self.size == 1:
            return arrays
        summed: Params = {}
        for dtype in sorted({array.dtype for array in arrays.values()}, key=str):
            summed |= self._all_reduce({name: array for name, array in arrays.items() if array.dtype == dtype}, dtype)
        return {name: summed[name] for name in arrays}

    def _all_reduce(self, arrays: Params, dtype: np.dtype[Any]) -> Params:
        """Sum arrays of one type, in one buffer."""
        length = -(-sum(array.size for array in arrays.values()) // self.size)
        flat, parts = self._buffer(dtype, length)
        views, first = {}, 0
        for name, array in arrays.items():
            views[name] = flat[first : first + array.size].reshape(array.shape)
            views[name][...] = array
            first += array.size
        self._world.Alltoall(flat, parts)
        total = parts[0]
        for part in parts[1:]:
            total += part
        self._world.Allgather(total, flat)
        return views

    def _buffer(self, dtype: np.dtype[Any], length: int) -> tuple[Array, Array]:
        """Return the flat array and the slices of all ranks; both are used again, as new memory would be slow."""
        key = dtype, length
        if key not in self._buffers:
            self._buffers[key] = np.zeros(length * self.size, dtype), np.empty((self.size, length), dtype)
        return self._buffers[key]

    def all_gather(self, value: T) -> list[T]:
        values: list[T] = self._world.allgather(value)
        return values

    def on_rank_0(self, work: Callable[[], T]) -> T:
        if self._leading:  # called by the work of another `on_rank_0`
            return work()
        self._world.Barrier()
        if self.rank != 0:
            result, exit_code = self._world.bcast(None)
            if exit_code is not None:
                raise OtherRankError(0, exit_code)
            return result  # type: ignore[no-any-return]
        self._leading = True
        try:
            done = work()
        except Exception as error:
            self._world.bcast((None, getattr(error, "exit_code", 1)))
            raise
        finally:
            self._leading = False
        self._world.bcast((done, None))
        return done

    def all_exiting(self) -> bool:
        """Wait for a short time, and return whether all ranks end, not only this one."""
        if self._ends_alone:
            return False
        everyone, deadline = self._ends.Ibarrier(), time.monotonic() + END_SECONDS
        while not everyone.Test():
            if time.monotonic() > deadline:
                self._ends_alone = True
                return False
            time.sleep(POLL_SECONDS)
        return True

    def abort_all(self, exit_code: int) -> None:
        """End all ranks with an exit code other than 0: by rank 0 if all end, else by this rank.

        If all exited by themselves, the launcher would kill the later ones, and exit with the code of that signal.
        """
        time.sleep(LAST_SECONDS if self.all_exiting() and self.rank != 0 else FORWARD_SECONDS)
        self._world.Abort(exit_code)
