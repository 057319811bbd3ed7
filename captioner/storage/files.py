"""Safe opening of files that a user names: regular files of a bounded size only."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from captioner.errors import CaptionerError, DataError, UsageError
from captioner.storage.missing import remedy

TEXT_LIMIT = 1 << 26
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
# without O_NONBLOCK, opening a named pipe would block until another process writes to it
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_positioning = threading.Lock()


def irregular_kind(status: os.stat_result) -> str | None:
    """Name the kind of a file that is not a regular file; None for a regular file."""
    return None if stat.S_ISREG(status.st_mode) else KINDS.get(stat.S_IFMT(status.st_mode), "a special file")


@contextmanager
def regular_file(
    path: str | os.PathLike[str],
    limit: int | None = None,
    error: Callable[[str], CaptionerError] = DataError,
    kind: str = "",
    expected: str = "a file",
) -> Iterator[int]:
    """Open a regular file of at most `limit` bytes for reading and return its descriptor.

    `error` makes the exception from a message. In the message, `kind` names the expected file, such as "checkpoint",
    and `expected` describes it if it is missing.

    Raises: `error` if the file cannot be opened, is not regular or is too large, or if reading it fails inside the
    `with` block.
    """
    try:
        descriptor = os.open(path, FLAGS)
    except FileNotFoundError as problem:
        raise error(f"{path}: not found; expected {expected}; {remedy(path)}") from problem
    except (OSError, ValueError) as problem:
        what = f"cannot open the {kind}" if kind else "cannot be opened"
        raise error(f"{path}: {what}: {getattr(problem, 'strerror', problem)}") from problem
    try:
        status = os.fstat(descriptor)
        if irregular := irregular_kind(status):
            raise error(f"{path}: expected a {kind or 'regular'} file, got {irregular}")
        if limit is not None and status.st_size > limit:
            raise error(f"{path}: expected a file of at most {limit} bytes, got {status.st_size}")
        yield descriptor
    except OSError as problem:
        what = f"cannot read the {kind}" if kind else "cannot be read"
        raise error(f"{path}: {what}: {problem.strerror or problem}") from problem
    finally:
        os.close(descriptor)


def check_output(
    path: str | os.PathLike[str],
    overwrite: bool,
    kind: str = "a file",
    is_kind: Callable[[str | os.PathLike[str]], bool] = os.path.isfile,
) -> None:
    """Check that a file can be written to `path`; with `overwrite`, an existing one must satisfy `is_kind`.

    Raises: UsageError.
    """
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"{path}: folder not found: {folder}")
    if os.path.isdir(path):
        raise UsageError(f"{path}: expected the name of a file, got a folder")
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"{path}: exists already; name another file, or replace it with --overwrite")
    if os.path.lexists(path) and not is_kind(path):
        raise UsageError(f"{path}: expected {kind} to replace, got something else; name another file")


def read_bytes(
    path: str | os.PathLike[str],
    limit: int,
    error: Callable[[str], CaptionerError] = DataError,
    expected: str = "a file",
) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises: `error`, as `regular_file`.
    """
    with (
        regular_file(path, limit, error, expected=expected) as descriptor,
        open(descriptor, "rb", closefd=False) as file,
    ):
        content: bytes | None = file.read(limit)
    if content is None:  # the read would block, as for /proc/kmsg
        raise error(f"{path}: expected a regular file, got one without data to read now")
    return content


def read_at(descriptor: int, into: memoryview, offset: int) -> int:
    """Read bytes at an offset of an open file, from any thread; return their number, 0 at the end of the file."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [into], offset)
    with _positioning:  # Windows has one position per open file
        os.lseek(descriptor, offset, os.SEEK_SET)
        content = os.read(descriptor, len(into))
    into[: len(content)] = content
    return len(content)


def read_text(path: str | os.PathLike[str], expected: str = "a file") -> str:
    """Read a UTF-8 file, with or without a byte order mark.

    Raises: DataError if it is not a regular file, larger than `TEXT_LIMIT` or not UTF-8.
    """
    content = read_bytes(path, TEXT_LIMIT, expected=expected)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        bad = content[problem.start : problem.start + 1]
        raise DataError(f"{path}: expected UTF-8 text, got {bad!r} at byte {problem.start}") from problem
