"""Find the file of a model: the checkpoint in a run folder, or the weights of a model package."""

from __future__ import annotations

import os
from difflib import SequenceMatcher, get_close_matches
from itertools import islice
from pathlib import Path

from captioner.errors import CheckpointError
from captioner.inference.installed_models import find_installed, installed_names, named_models
from captioner.inference.package_info import WEIGHTS, find_package
from captioner.storage.sealed import SEAL

BEST, LAST, RERANKER, HISTORY = "best.h5", "last.h5", "reranker.h5", "history.jsonl"
RUNS = Path("runs")
"""The default folder of runs."""
MAX_NAMED = 5
MAX_ENTRIES = 1000
"""The number of entries of a folder that are examined."""
SIMILARITY = 0.6


def is_run(path: Path) -> bool:
    """Whether a path is a run folder with a checkpoint, a checkpoint file or a model package, or an installed model."""
    if os.path.isdir(path):  # unlike Path.is_dir, it accepts any name
        return _holds_checkpoint(path) or find_package(path) is not None
    if not os.path.lexists(path):
        return str(path) in installed_names()
    # a pipe is not opened: reading it would consume its content
    return os.path.isfile(path) and (path.suffix == Path(BEST).suffix or SEAL.matches(path))


def _holds_checkpoint(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in (BEST, LAST))


def find_checkpoint(path: Path) -> Path:
    """Find the checkpoint of a run folder: best.h5, or else last.h5; a file is returned as it is.

    A model package, given by its folder or by the name of an installed model, has one file. An existing path takes
    precedence over the name of a model.

    Raises: CheckpointError when there is neither, or no checkpoint in the folder.
    """
    if not os.path.lexists(path):
        package = find_installed(str(path))
        if package is not None:
            return package / WEIGHTS
        raise CheckpointError(
            f"{path}: not found; expected a run folder or a checkpoint from `captioner train`{named_models()}"
            f"{_nearest_model(path) or nearest_runs(path)}"
        )
    if not path.is_dir():
        return path
    for file in (path / BEST, path / LAST):
        if file.exists():
            return file
    package = find_package(path)
    if package is not None:
        return package / WEIGHTS
    is_model = str(path) in installed_names()
    hides = "; the installed model of this name is used only if no such path exists" if is_model else ""
    raise CheckpointError(
        f"{path}: no checkpoint found; expected {BEST} or {LAST} from `captioner train`{hides or nearest_runs(path)}"
    )


def _nearest_model(path: Path) -> str:
    similar = get_close_matches(str(path)[:MAX_ENTRIES], installed_names(), 1, SIMILARITY)
    return f"; did you mean {similar[0]}?" if similar else ""


def nearest_runs(path: Path) -> str:
    """Name existing runs for a path that is not one, most similar first: those in it, beside it, or in `runs`.

    Return the end of a message, or an empty text if there are none.
    """

    def similarity(run: Path) -> float:
        return SequenceMatcher(None, path.name[:MAX_ENTRIES], run.name).ratio()

    runs = set(_runs_in(path)) or {*_runs_in(path.parent), *_runs_in(RUNS)}
    nearest = sorted(runs - {path}, key=lambda run: (-similarity(run), run))[:MAX_NAMED]
    if nearest and similarity(nearest[0]) >= SIMILARITY:
        return f"; did you mean {nearest[0]}?"
    return f"; existing runs: {', '.join(map(str, nearest))}" if nearest else ""


def _runs_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MAX_ENTRIES) if entry.is_dir()]
    except (OSError, ValueError):
        return []
    return [folder / name for name in names if _holds_checkpoint(folder / name)]
