"""Files that are either the old one or the new one, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

Chunk = bytes | memoryview


def write_atomically(path: Path, chunks: Iterable[Chunk], check: Callable[[], None] = lambda: None) -> None:
    """Write a file so that it is, whatever happens, the old one or the new one.

    `check` is called as in `replacing`.

    Raises: OSError, as `replacing`.
    """
    with replacing(path, check) as temporary, open(temporary, "wb") as file:
        for chunk in chunks:
            file.write(chunk)


@contextlib.contextmanager
def replacing(path: Path, check: Callable[[], None] = lambda: None) -> Iterator[Path]:
    """A temporary name in the same folder, for a file that is then synced and renamed into place.

    The folder is synced too, so that the new name survives a loss of power. When the block raises, the old file stays
    and the temporary one goes.

    `check` is called before the block and again before the rename, and stops the write by raising.

    Raises: OSError: with the old file whole, or where the folder alone cannot be synced, with the new one in its place;
    also for what is there and is no regular file, such as /dev/null.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "there is something that is not a regular file", os.fspath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    check()
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        check()
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sweep(*paths: Path) -> None:
    """Remove what killed writers of these files left behind."""
    for path in paths:
        left_behind = re.compile(rf"\.{re.escape(path.name)}\.[0-9]+\.tmp")
        for left in path.parent.iterdir():
            if left_behind.fullmatch(left.name):
                with contextlib.suppress(OSError):
                    left.unlink()
