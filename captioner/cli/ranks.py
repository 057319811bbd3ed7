"""Commands that run as several MPI ranks: one message for all, one exit code, and signals that stop all at one step."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from captioner.cli import interrupts, output

if TYPE_CHECKING:
    from captioner.parallel.ranks import Ranks
    from captioner.training.events import Event

mpi_option = click.option(
    "--mpi", is_flag=True,
    help="Data-parallel training: split each batch among the MPI ranks that mpiexec or srun started. train.batch_size "
    "is the global batch size. Needs the extra mpi.",
)  # fmt: skip


@contextmanager
def joined(mpi: bool) -> Iterator[Ranks]:
    """Yield the ranks of a command: this process alone, or those that a launcher started.

    A failure of all ranks is reported by rank 0. A failure of a single rank is reported by this rank, which then ends
    the others, since they wait for it.

    Raises: MissingLibraryError, UsageError, if MPI cannot start.
    """
    from captioner.parallel.ranks import SINGLE_PROCESS

    if not mpi:
        yield SINGLE_PROCESS
        return
    with interrupts.default_actions():
        from captioner.parallel.mpi import start

        ranks = start()  # it waits for all ranks
    interrupts.BEFORE_EXIT.extend([_silence, ranks.abort_all])
    sys.excepthook = _exit_after_traceback
    if ranks.rank != 0:
        warnings.showwarning = lambda *warning, **more: None  # rank 0 prints the same ones
    try:
        yield ranks
    except BaseException:
        if not ranks.all_exiting():
            output.PROGRAM[0] = f"captioner: rank {ranks.rank}"
        elif ranks.rank != 0:
            output.silence()
        raise


def _silence(code: int) -> None:
    """Discard what MPI prints about its end: the message has been printed."""
    output.silence()


def _exit_after_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug, and leave the other ranks: Python's own exit would wait for them."""
    sys.__excepthook__(kind, error, trace)
    interrupts.exit_at_once(1)


class SharedStop:
    """The `stop` of training: whether any rank caught a signal, which is then the `signal` of all."""

    def __init__(self, ranks: Ranks, caught: Sequence[int]) -> None:
        self._ranks, self._caught = ranks, caught
        self.signal = 0

    def __call__(self) -> bool:
        # always collective, also if the signal is known: no rank exits while rank 0 still writes a report
        now = max(self._ranks.all_gather(self._caught[0] if self._caught else 0))
        self.signal = self.signal or now
        return self.signal != 0


def show(events: Iterator[Event], ranks: Ranks, profile: bool) -> dict[str, Any]:
    """Consume the events of a training run and return its summary; rank 0 alone prints them."""
    from captioner.cli import progress
    from captioner.training.events import Ended

    if ranks.rank == 0:
        return progress.show(events, profile)
    summary: dict[str, Any] = {}
    for event in events:
        if isinstance(event, Ended):
            summary = event.summary
    return summary
