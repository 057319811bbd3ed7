"""Find the checkpoint in a run folder."""

from __future__ import annotations

import os
from pathlib import Path

from captioner.errors import CheckpointError
from captioner.storage.checkpoint import SEAL

BEST, LAST = "best.h5", "last.h5"


RERANKER = "reranker.h5"


def is_run(path: Path) -> bool:
    """Whether a name is that of a run folder with a checkpoint, or of a checkpoint file."""
    if os.path.isdir(path):  # unlike Path.is_dir, it takes any name
        return any(os.path.exists(path / name) for name in (BEST, LAST))
    # a pipe is not read: what is taken from it is gone
    return os.path.isfile(path) and (path.suffix == Path(BEST).suffix or SEAL.is_on(path))


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a user means by a run folder (the best, else the last) or by a file.

    Raises: CheckpointError when there is none.
    """
    if not path.is_dir():
        return path
    for file in (path / BEST, path / LAST):
        if file.exists():
            return file
    raise CheckpointError(
        f"{path}: no checkpoint here; expected {BEST} or {LAST} in a folder that `captioner train` made"
    )
