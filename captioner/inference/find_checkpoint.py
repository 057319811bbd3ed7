"""Find the checkpoint in a run folder."""

from __future__ import annotations

import os
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path

from captioner.errors import CheckpointError
from captioner.storage.checkpoint import SEAL

BEST, LAST, RERANKER = "best.h5", "last.h5", "reranker.h5"
RUNS = Path("runs")
"""The default folder of runs."""
MAX_NAMED = 5
MAX_ENTRIES = 1000
"""The number of entries of a folder that are examined."""
SIMILARITY = 0.6


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
        raise CheckpointError(
            f"{path}: not found; expected a run folder or a checkpoint from `captioner train`{nearest_runs(path)}"
        )
    if not path.is_dir():
        return path
    for file in (path / BEST, path / LAST):
        if file.exists():
            return file
    raise CheckpointError(
        f"{path}: no checkpoint found; expected {BEST} or {LAST} from `captioner train`{nearest_runs(path)}"
    )


def nearest_runs(path: Path) -> str:
    """Name existing runs for a path that is not one, most similar first: those in it, beside it, or in `runs`.

    Return the end of a message, or an empty text if there are none.
    """

    def similarity(run: Path) -> float:
        return SequenceMatcher(None, path.name[:MAX_ENTRIES], run.name).ratio()

    runs = _runs_in(path) or dict.fromkeys([*_runs_in(path.parent), *_runs_in(RUNS)])
    nearest = sorted(runs, key=lambda run: (-similarity(run), run))[:MAX_NAMED]
    if nearest and similarity(nearest[0]) >= SIMILARITY:
        return f"; did you mean {nearest[0]}?"
    return f"; existing runs: {', '.join(map(str, nearest))}" if nearest else ""


def _runs_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MAX_ENTRIES) if entry.is_dir()]
    except (OSError, ValueError):
        return []
    return [folder / name for name in names if is_run(folder / name)]
