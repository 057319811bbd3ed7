"""Folders and files of exported and imported models."""

from __future__ import annotations

import os
from pathlib import Path

from captioner.errors import CaptionerError, UsageError
from captioner.storage.atomic import remove_temporary_files, write_atomically


def check_folder(path: Path) -> None:
    """Raises: UsageError when a path is something else than a folder."""
    if os.path.lexists(path) and not path.is_dir():
        raise UsageError(f"{path}: exists already and is not a folder; name another folder")


def create_folder(path: Path) -> None:
    """Create a folder and its parents, if they do not exist.

    Raises: CaptionerError.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CaptionerError(f"{path}: cannot create the folder: {error.strerror}") from error


def write(path: Path, content: bytes) -> None:
    """Write a file atomically.

    Raises: CaptionerError, with an existing file unchanged.
    """
    remove_temporary_files(path)
    try:
        write_atomically(path, (content,))
    except OSError as error:
        raise CaptionerError(f"{path}: cannot write: {error.strerror or error}") from error
