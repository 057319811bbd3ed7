"""End the process on Ctrl-C, also if Python ignores the exception or other threads are busy."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from _thread import interrupt_main
from collections.abc import Callable
from typing import TYPE_CHECKING

from captioner.cli import output

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

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
