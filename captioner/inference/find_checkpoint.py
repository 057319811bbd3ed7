"""Find the checkpoint in a run folder."""

from __future__ import annotations

import os
from pathlib import Path

from captioner.errors import CheckpointError
from captioner.storage.checkpoint import SEAL

BEST, LAST, RERANKER = "best.h5", "last.h5", "reranker.h5"


def is_run(path: Path) -> bool:
    """Whether a path is a run folder with a checkpoint, or a checkpoint file."""
    if os.path.isdir(path):  # unlike Path.is_dir, it accepts any name
        return any(os.path.exists(path / name) for name in (BEST, LAST))
    # a pipe is not opened: reading it would consume its content
    return os.path.isfile(path) and (path.suffix == Path(BEST).suffix or SEAL.matches(path))


def find_checkpoint(path: Path) -> Path:
    """Find the checkpoint of a run folder: best.h5, or else last.h5; a file is returned as it is.

    Raises: CheckpointError when there is no such path, or no checkpoint in the folder.
    """
    if not os.path.lexists(path):
        raise CheckpointError(f"{path}: not found; expected a run folder or a checkpoint from `captioner train`")
    if not path.is_dir():
        return path
    for file in (path / BEST, path / LAST):
        if file.exists():
            return file
    raise CheckpointError(f"{path}: no checkpoint found; expected {BEST} or {LAST} from `captioner train`")
