"""How a process ends: signals, and several MPI ranks as one program."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING

from captioner.cli import output

if TYPE_CHECKING:
    from captioner.parallel.ranks import Ranks


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BEFORE_EXIT: list[Callable[[int], None]] = []
"""Called with the exit code before the process exits with one other than 0."""


def exit_at_once(code: int) -> None:
    """Exit without waiting for threads, which may still decode a photograph or run a model."""
    with contextlib.suppress(output.OutputError, OSError):
        output.flush()
    for last in BEFORE_EXIT:
        last(code)
    os._exit(code)


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> Iterator[None]:
    """Handle the signals of `STOPPING` with one function or action, and restore the handlers at the end."""
    # `nohup` asks to ignore SIGHUP; shells ignore SIGINT in every background process of a script, where it must work
    used = [number for number in STOPPING if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in used}
    try:
        yield
    finally:
        for number, action in previous.items():
            signal.signal(number, action)


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Catch the first signal of `STOPPING` in a list; a second one terminates at once."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        # SIG_DFL is set only here: otherwise Python loses a second signal that arrives before it handles the first.
        if caught:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        caught.append(number)

    with _handling(catch):
        yield caught


@contextmanager
def joined(mpi: bool) -> Iterator[Ranks]:
    """Yield the ranks of a command: this process alone, or those that a launcher started.

    A failure of all ranks is reported by rank 0. A failure of a single rank is reported by this rank, which then ends
    the others, since they wait for it.

    Raises: MissingLibraryError, UsageError, if MPI cannot start.
    """
    from captioner.parallel.ranks import SINGLE_PROCESS, start_mpi

    if not mpi:
        yield SINGLE_PROCESS
        return
    # MPI_Init waits for all ranks, and runs no handler of Python: the default action ends the process at once
    with _handling(signal.SIG_DFL):
        ranks = start_mpi()
    # what MPI prints about its end is discarded: the message has been printed
    BEFORE_EXIT.extend([lambda code: output.silence(), ranks.abort_all])
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


def _exit_after_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug, and leave the other ranks: Python's own exit would wait for them."""
    sys.__excepthook__(kind, error, trace)
    exit_at_once(1)


def exit_code_of(number: int) -> int:
    """Return the exit code of a command that a signal stopped, as shells have it."""
    return 128 + number


class SharedStop:
    """The `stop` of training: whether any rank caught a signal, which is then the `signal` of all."""

    def __init__(self, ranks: Ranks, caught: Sequence[int]) -> None:
        self._ranks, self._caught = ranks, caught
        self.signal = 0

    def __call__(self) -> bool:
        # always collective, also if the signal is known: no rank exits while another still validates
        now = max(self._ranks.all_gather(self._caught[0] if self._caught else 0))
        self.signal = self.signal or now
        return self.signal != 0
