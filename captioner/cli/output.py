"""What the command line prints: the only module that writes to a standard stream.

Every text passes through `printable`, so that no name and no caption can control a terminal or forge a line.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from captioner.errors import CaptionerError
from captioner.printable import printable

if TYPE_CHECKING:
    from tqdm import tqdm


class OutputError(CaptionerError):
    """Results cannot be written to stdout."""


def result(*cells: object) -> None:
    """Print one line to stdout, with tabs between its cells.

    Raises: OutputError; BrokenPipeError when the reader is gone.
    """
    _print("\t".join(map(printable, cells)))


def record(values: dict[str, Any]) -> None:
    """Print one line of JSON to stdout, whole and in ASCII.

    Raises: as `result`.
    """
    from captioner.text.strict_json import to_json

    _print(to_json(values))


def text(content: str) -> None:
    """Print a text of several lines to stdout, whole.

    Raises: as `result`.
    """
    for line in content.splitlines():
        _print(printable(line, sys.maxsize))


def flush() -> None:
    """Raises: as `result`."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"output: {error.strerror}") from None


def note(*lines: object) -> None:
    """Print lines to stderr. That nobody reads them, or a full disk is behind it, stops no command."""
    try:
        for line in lines:
            print(printable(line), file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr.fileno())


def problem(message: object) -> None:
    """Print what is wrong to stderr."""
    note(f"captioner: {message}")


def warn(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
    """Print a warning of a library in one line; those about numbers not, which are checked where they matter."""
    if not issubclass(category, RuntimeWarning):
        problem(f"warning: {message}")


def progress(total: int, unit: str, initial: int = 0) -> tqdm[Any]:
    """A progress bar on stderr, where that is a terminal."""
    from tqdm import tqdm

    off = True if sys.stderr is None else None  # None: off unless it is a terminal
    return tqdm(
        total=total, initial=initial, unit=unit, disable=off, dynamic_ncols=True, file=sys.stderr, mininterval=0.2
    )


def discard(descriptor: int) -> None:
    """Let what is still to be written to a stream go nowhere, or Python would fail over it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def open_closed_streams() -> None:
    """Open a closed stdin, stdout or stderr, or the next file that is opened would get its number and what is printed.

    Reading from such a stdin fails and so does writing to such a stdout; what goes to stderr is dropped.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, flags)  # the lowest free number is the one that is missing
                if number:
                    name = ("stdin", "stdout", "stderr")[number]
                    setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - until the process ends


def _print(line: str) -> None:
    try:
        print(line)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"output: {error.strerror}") from None
