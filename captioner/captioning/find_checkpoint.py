"""Find the file of a model: the checkpoint in a run folder, or a model file."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from captioner.errors import CheckpointError, similar
from captioner.files.user_files import missing_remedy

BEST, LAST = "best.h5", "last.h5"
RUNS = Path("runs")
"""The default folder of runs."""
PACKAGE = Path(__file__).parents[1]
DEFAULT_MODEL = (PACKAGE if (PACKAGE / "models").is_dir() else PACKAGE.parent) / "models" / "everyday.h5"
"""The default model: a file of the repository, of which a wheel contains a copy in the package."""
MAX_NAMED = 5
MAX_ENTRIES = 1000
"""The number of entries of a folder that are examined."""


def is_run(path: Path) -> bool:
    """Whether a path is a run folder with a checkpoint, or is called like a model file; no file is opened."""
    return path.suffix == Path(BEST).suffix or _holds_checkpoint(path)


def _holds_checkpoint(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in (BEST, LAST))


def find_checkpoint(path: Path) -> Path:
    """Find the checkpoint of a run folder: best.h5, or else last.h5; a file is returned as it is.

    The name of the default model, `everyday`, means its file, unless there is a file or folder of this name.

    Raises: CheckpointError when there is neither, or no checkpoint in the folder.
    """
    if not os.path.lexists(path):
        if os.fspath(path) == DEFAULT_MODEL.stem:
            return DEFAULT_MODEL
        hint = nearest_runs(path) or f"; {missing_remedy(path)}"
        raise CheckpointError(f"{path}: not found; expected a run folder from `captioner train` or a model file{hint}")
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
    found = {os.path.abspath(run): run for run in runs_in(path) or [*runs_in(path.parent), *runs_in(RUNS)]}
    runs = sorted(run for place, run in found.items() if place != os.path.abspath(path))
    ranked = similar(path.name, [run.name for run in runs], 0)
    runs.sort(key=lambda run: ranked.index(run.name))
    if similar(path.name, ranked[:1]):
        return f"; did you mean {runs[0]}?"
    if similar(path.name, [DEFAULT_MODEL.stem]):
        return f"; did you mean {DEFAULT_MODEL.stem}?"
    return f"; existing runs: {', '.join(map(str, runs[:MAX_NAMED]))}" if runs else ""


def runs_in(folder: Path) -> list[Path]:
    """List the run folders with a checkpoint among the first `MAX_ENTRIES` entries of a folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MAX_ENTRIES) if entry.is_dir()]
    except (OSError, ValueError):
        return []
    return [folder / name for name in names if _holds_checkpoint(folder / name)]
