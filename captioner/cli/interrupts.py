"""Signals: stop after the current step, or end the process at once, also if Python ignores the exception of Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from captioner.cli import output

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
"""Windows has SIGBREAK (Ctrl-Break) instead of SIGHUP."""
AGAIN = 0.05
"""Seconds until an ignored interrupt is raised again."""
BEFORE_EXIT: list[Callable[[int], None]] = []
"""Called with the exit code before the process exits with one other than 0."""


def raise_again(ignored: UnraisableHookArgs) -> None:
    """Raise an interrupt again that arrived in a weakref callback or `__del__`, where Python ignores exceptions.

    Use it as `sys.unraisablehook`.
    """
    if issubclass(ignored.exc_type, KeyboardInterrupt):
        timer = threading.Timer(AGAIN, _interrupt)
        timer.daemon = True
        timer.start()
    else:
        sys.__unraisablehook__(ignored)


def _interrupt() -> None:
    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)  # this also interrupts a system call
    else:
        interrupt_main()


def exit_at_once(code: int) -> None:
    """Exit without waiting for threads, which may still decode a photograph or run a model."""
    with contextlib.suppress(output.OutputError, OSError):
        output.flush()
    for last in BEFORE_EXIT:
        last(code)
    os._exit(code)


@contextmanager
def default_actions() -> Iterator[None]:
    """Let the signals of `STOPPING` end the process at once: a function in C, such as MPI_Init, runs no handler."""
    previous = {number: signal.signal(number, signal.SIG_DFL) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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

    previous = {number: signal.signal(number, catch) for number in STOPPING}
    try:
        yield caught
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
