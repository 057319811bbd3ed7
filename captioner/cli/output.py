"""Printing: the only module that writes to stdout and stderr.

All text is escaped by `printable`, so that file names and captions cannot send control sequences or fake lines.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from captioner.errors import CaptionerError, printable

if TYPE_CHECKING:
    from tqdm import tqdm


class OutputError(CaptionerError):
    """A failed write to stdout."""


def result(*cells: object) -> None:
    """Print tab-separated cells as one line to stdout.

    Raises: OutputError, or BrokenPipeError if the reader closed the pipe.
    """
    _print("\t".join(map(printable, cells)))


def record(values: dict[str, Any]) -> None:
    """Print one line of ASCII JSON of any length to stdout.

    Raises: as `result`.
    """
    from captioner.files.user_files import to_json

    _print(to_json(values))


def text(content: str) -> None:
    """Print lines of any length to stdout.

    Raises: as `result`.
    """
    for line in content.splitlines():
        _print(printable(line, sys.maxsize))


def flush() -> None:
    """Flush stdout.

    Raises: as `result`.
    """
    with _writing():
        sys.stdout.flush()


def note(*lines: object) -> None:
    """Print lines to stderr; ignore a failed write, which must not stop a command."""
    try:
        for line in lines:
            print(printable(line), file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr.fileno())


def is_terminal() -> bool:
    """Return whether stderr is a terminal."""
    return sys.stderr.isatty()


def next_command(*words: object) -> None:
    """Name the next command on stderr."""
    note(f"next: captioner {shlex.join(map(str, words))}")


PROGRAM = ["captioner"]
"""The name of this process in its messages."""


def problem(message: object) -> None:
    """Print an error or warning to stderr."""
    note(f"{PROGRAM[0]}: {message}")


def failure(error: Exception) -> None:
    """Print an error to stderr; a bug with its traceback."""
    problem(error if isinstance(error, CaptionerError) else f"{type(error).__name__}: {error}")
    if not isinstance(error, CaptionerError):
        import traceback

        note(*"".join(traceback.format_exception(error)).splitlines())


def open_closed_streams() -> None:
    """Open closed standard streams, because the next opened file would get their descriptors and the printed text.

    Reading from a reopened stdin and writing to a reopened stdout fail; text for a reopened stderr is discarded.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, flags)  # uses the lowest free descriptor, which is `number`
                if number:
                    name = ("stdin", "stdout", "stderr")[number]
                    setattr(sys, name, open(number, "w", closefd=False))  # noqa: SIM115 - open until exit


def warnings(messages: Iterable[str]) -> None:
    """Print warnings to stderr."""
    for message in messages:
        problem(f"warning: {message}")


def warn(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
    """Print a library's warning as one line; ignore NumPy's RuntimeWarnings, as results are checked for finiteness."""
    if not issubclass(category, RuntimeWarning):
        problem(f"warning: {message}")


class _LogLines:
    """A stream that prints what a progress bar writes as lines."""

    def write(self, text: str) -> None:
        if line := text.strip():
            note(line)

    def flush(self) -> None:
        pass


def progress(total: int, unit: str, initial: int = 0, in_log: bool = False) -> tqdm[Any]:
    """Return a progress bar on stderr; if that is not a terminal, it is disabled or, with `in_log`, a line a minute."""
    from tqdm import tqdm

    if in_log and not is_terminal():
        what = "{n_fmt} of {total_fmt} " + unit + "s, {rate_noinv:.1f} per s, {remaining} left"
        lines: Any = _LogLines()
        return tqdm(
            total=total, bar_format=what, file=lines, leave=False, miniters=1, mininterval=60, maxinterval=60, delay=60
        )
    return tqdm(
        total=total, initial=initial, unit=unit, disable=None, dynamic_ncols=True, file=sys.stderr, mininterval=0.2
    )


def above_progress() -> contextlib.AbstractContextManager[None]:
    """Return a context in which lines are printed above the progress bar."""
    from tqdm import tqdm

    return tqdm.external_write_mode(file=sys.stderr)


@contextlib.contextmanager
def ignoring_a_closed_pipe(fail: Callable[[OutputError], object] | None = None) -> Iterator[None]:
    """Discard the rest of stdout if its reader closed the pipe: the command continues, and its exit code counts.

    It also continues after a failed write, if that is passed to `fail`.
    """
    try:
        yield
    except (BrokenPipeError, OutputError) as error:
        if isinstance(error, OutputError):
            if fail is None:
                raise
            fail(error)
        discard(sys.stdout.fileno())


def discard(descriptor: int) -> None:
    """Redirect a stream to the null device, so that flushing its buffer at exit does not fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


def silence() -> None:
    """Discard all further messages of this process: another one prints the same."""
    discard(sys.stderr.fileno())


def _print(line: str) -> None:
    with _writing():
        print(line)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Raise OutputError for a failed write to stdout, unless its reader closed the pipe."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"output: {error.strerror}") from None
