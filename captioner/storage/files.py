"""Files that a user names: regular ones of a bounded size, whatever the path leads to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from captioner.errors import DataError, UsageError

TEXT_LIMIT = 1 << 26
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def nonblocking_opener(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """An opener of files: a named pipe would wait for a writer before it can be told from a file.

    Raises: OSError, ValueError.
    """
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def irregular_kind(status: os.stat_result) -> str | None:
    """What stands there instead of a regular file."""
    return None if stat.S_ISREG(status.st_mode) else KINDS.get(stat.S_IFMT(status.st_mode), "something else")


@contextmanager
def regular_file(path: str | os.PathLike[str], limit: int) -> Iterator[int]:
    """The descriptor of a file, open for reading and known to be a regular one of at most `limit` bytes.

    Raises: DataError when it is not, and for whatever fails inside the `with` block while it is read.
    """
    try:
        descriptor = nonblocking_opener(path)
    except (OSError, ValueError) as problem:
        raise DataError(f"{path}: cannot be opened: {getattr(problem, 'strerror', problem)}") from problem
    try:
        status = os.fstat(descriptor)
        if kind := irregular_kind(status):
            raise DataError(f"{path}: expected a regular file, got {kind}")
        if status.st_size > limit:
            raise DataError(f"{path}: expected a file of at most {limit} bytes, got {status.st_size}")
        yield descriptor
    except OSError as problem:
        raise DataError(f"{path}: cannot be read: {problem.strerror or problem}") from problem
    finally:
        os.close(descriptor)


def check_output(
    path: str | os.PathLike[str],
    overwrite: bool,
    kind: str = "a file",
    is_kind: Callable[[str | os.PathLike[str]], bool] = os.path.isfile,
) -> None:
    """Refuse a path to write to: without a folder to be in, taken without `overwrite`, or by another kind of file.

    Raises: UsageError.
    """
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"{path}: expected a folder to write into, got {folder}, which is none")
    if os.path.isdir(path):
        raise UsageError(f"{path}: expected the name of a file, got a folder")
    if os.path.lexists(path) and not overwrite:
        raise UsageError(f"{path}: exists already; name another file, or replace it with --overwrite")
    if os.path.lexists(path) and not is_kind(path):
        raise UsageError(f"{path}: expected {kind} to replace, got something else; name another file")


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a file.

    Raises: DataError when it is not a regular file of at most `limit` bytes.
    """
    with regular_file(path, limit) as descriptor, open(descriptor, "rb", closefd=False) as file:
        content: bytes | None = file.read(limit)
    if content is None:  # it would have to be waited for, as in /proc/kmsg
        raise DataError(f"{path}: expected a regular file, got one that has nothing to read now")
    return content


def read_text(path: str | os.PathLike[str]) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises: DataError when it is not a regular file, is larger than `TEXT_LIMIT` or is not UTF-8.
    """
    content = read_bytes(path, TEXT_LIMIT)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        bad = content[problem.start : problem.start + 1]
        raise DataError(f"{path}: expected UTF-8 text, got {bad!r} at byte {problem.start}") from problem
