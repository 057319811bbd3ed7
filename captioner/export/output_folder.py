"""Output folders of exports and imports."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from captioner.errors import CaptionerError, UsageError


def check_folder(path: Path) -> None:
    """Raises: UsageError when a path is something else than a folder."""
    if os.path.lexists(path) and not path.is_dir():
        raise UsageError(f"{path}: exists already and is not a folder; name another folder")


@contextmanager
def output_folder(path: Path) -> Iterator[None]:
    """Create a folder and its parents, if they do not exist; if the block raises, remove what it added to the folder.

    Raises: CaptionerError.
    """
    before = set(path.iterdir()) if path.is_dir() else None
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaptionerError(f"{path}: cannot create the folder: {error.strerror}") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for file in set(path.iterdir()) - (before or set()):
                file.unlink()
            if before is None:
                path.rmdir()
        raise
