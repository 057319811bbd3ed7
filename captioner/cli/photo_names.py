"""Names of photographs on the command line and on stdin."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from captioner.errors import DataError, UsageError


def photo_names(photos: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the names of photographs and folders; `-` yields those on stdin, one per line.

    Raises: UsageError if stdin has no names or is closed, DataError if it cannot be read.
    """
    for photo in photos:
        if os.fspath(photo) != "-":
            yield photo
            continue
        names = _stdin()
        if (first := next(names, None)) is None:
            raise UsageError("-: expected names of photographs on stdin, one per line, got none")
        yield first
        yield from names


def _stdin() -> Iterator[Path]:
    if sys.stdin is None:
        raise UsageError("-: expected names of photographs on stdin, one per line, but stdin is closed")
    try:
        yield from (Path(_decode(name)) for line in sys.stdin.buffer if (name := line.rstrip(b"\r\n")))
    except OSError as error:
        raise DataError(f"-: cannot read stdin: {error.strerror}") from error


def _decode(name: bytes) -> str:
    try:
        return os.fsdecode(name)
    except UnicodeDecodeError:  # on Windows, if another program writes names in the code page of the console
        return name.decode(sys.stdin.encoding, "backslashreplace")
