"""Find the file of a model: the checkpoint in a run folder, or the weights of a model package.

Installed model packages have entry points of the group `captioner.models`, which name a model and its Python package.
The package is located, but never imported: it contains data, and its code does not run. `importlib.metadata` is
imported only for a name of a model: other commands start faster without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.errors import CheckpointError, quoted, similar
from captioner.inference.package_info import INFO, WEIGHTS, PackageInfo, check_seal, find_package, read_info
from captioner.storage.base_models import is_name
from captioner.storage.sealed import MODEL_SEAL

if TYPE_CHECKING:
    from importlib import metadata

BEST, LAST, RERANKER = "best.h5", "last.h5", "reranker.h5"
RUNS = Path("runs")
"""The default folder of runs."""
MAX_NAMED = 5
MAX_MODELS_NAMED = 10
GROUP = "captioner.models"
"""The group of entry points of model packages."""
MAX_ENTRIES = 1000
"""The number of entries of a folder that are examined."""


def is_run(path: Path) -> bool:
    """Whether a path is a run folder with a checkpoint, a checkpoint file or a model package, or an installed model."""
    if os.path.isdir(path):  # unlike Path.is_dir, it accepts any name
        return _holds_checkpoint(path) or find_package(path) is not None
    if not os.path.lexists(path):
        return str(path) in installed_names()
    # a pipe is not opened: reading it would consume its content
    return os.path.isfile(path) and (path.suffix == Path(BEST).suffix or MODEL_SEAL.matches(path))


def _holds_checkpoint(folder: Path) -> bool:
    return any(os.path.exists(folder / name) for name in (BEST, LAST))


def find_checkpoint(path: Path) -> Path:
    """Find the checkpoint of a run folder: best.h5, or else last.h5; a file is returned as it is.

    A model package, given by its folder or by the name of an installed model, has one file. An existing path takes
    precedence over the name of a model.

    Raises: CheckpointError when there is neither, or no checkpoint in the folder.
    """
    if not os.path.lexists(path):
        if package := find_installed(str(path)):
            return package / WEIGHTS
        names = installed_names()
        more = ", ..." if len(names) > MAX_MODELS_NAMED else ""
        models = f", or an installed model ({', '.join(names[:MAX_MODELS_NAMED])}{more})" if names else ""
        nearest = similar(str(path), names)
        raise CheckpointError(
            f"{path}: not found; expected a run folder or a checkpoint from `captioner train`{models}"
            f"{f'; did you mean {nearest[0]}?' if nearest else nearest_runs(path)}"
        )
    if not path.is_dir():
        return path
    for file in (path / BEST, path / LAST):
        if file.exists():
            return file
    if package := find_package(path):
        return package / WEIGHTS
    is_model = str(path) in installed_names()
    hides = "; the installed model of this name is used only if no such path exists" if is_model else ""
    raise CheckpointError(
        f"{path}: no checkpoint found; expected {BEST} or {LAST} from `captioner train`{hides or nearest_runs(path)}"
    )


def nearest_runs(path: Path) -> str:
    """Name existing runs for a path that is not one, most similar first: those in it, beside it, or in `runs`.

    Return the end of a message, or an empty text if there are none.
    """
    runs = sorted({*(runs_in(path) or [*runs_in(path.parent), *runs_in(RUNS)])} - {path})
    ranked = similar(path.name, [run.name for run in runs], 0)
    runs.sort(key=lambda run: ranked.index(run.name))
    if similar(path.name, ranked[:1]):
        return f"; did you mean {runs[0]}?"
    return f"; existing runs: {', '.join(map(str, runs[:MAX_NAMED]))}" if runs else ""


def runs_in(folder: Path) -> list[Path]:
    """List the run folders with a checkpoint among the first `MAX_ENTRIES` entries of a folder."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, MAX_ENTRIES) if entry.is_dir()]
    except (OSError, ValueError):
        return []
    return [folder / name for name in names if _holds_checkpoint(folder / name)]


def installed_names() -> list[str]:
    """List the names of the installed models in alphabetical order."""
    return sorted({entry.name for entry in _entries() if is_name(entry.name)})


def _entries() -> list[metadata.EntryPoint]:
    """Return the entry points of the group, without those of distributions whose file of entry points is damaged."""
    from importlib import metadata

    entries: list[metadata.EntryPoint] = []
    for distribution in metadata.distributions():  # `metadata.entry_points` fails if a file of any of them is damaged
        with suppress(TypeError, ValueError):
            entries += distribution.entry_points.select(group=GROUP)
    return entries


def find_installed(name: str) -> Path | None:
    """Return the folder of the Python package of an installed model, or None if no model has this name.

    Raises: CheckpointError when two packages have this model, or its files are not found.
    """
    if not is_name(name):
        return None
    # of two installations of a package, Python uses the first
    entries = {entry.value: entry for entry in reversed(_entries()) if entry.name == name}
    if not entries:
        return None
    if len(entries) > 1:
        values = ", ".join(map(quoted, sorted(entries)))
        raise CheckpointError(f"model {name}: expected one installed package, got {values}; uninstall one")
    ((value, entry),) = entries.items()
    folder = _locate(entry) if value.isidentifier() else None
    if folder is None:
        raise CheckpointError(f"model {name}: package {quoted(value)} not found; install it again")
    if (actual := read_info(folder).name) != name:
        raise CheckpointError(f"model {name}: expected a package of this model, got {actual} in {folder}; uninstall it")
    return folder


def _locate(entry: metadata.EntryPoint) -> Path | None:
    """Find the package of an entry point: beside its metadata, or in the project of an editable installation (PEP 610).

    Python's own search would prefer a namesake in the current folder.
    """
    if entry.dist is None:
        return None
    folders = [Path(str(entry.dist.locate_file(entry.value)))]
    if origin := entry.dist.read_text("direct_url.json"):
        from urllib.request import url2pathname

        with suppress(KeyError, TypeError, ValueError):
            scheme, _, path = json.loads(origin)["url"].partition("://")
            if scheme == "file":
                folders.append(Path(url2pathname(path), entry.value))
    existing = filter(os.path.isdir, folders)
    return max(existing, key=lambda folder: os.path.isfile(folder / INFO), default=None)  # the first of equal ones


def describe_installed() -> Iterator[tuple[str, Path, PackageInfo] | CheckpointError]:
    """Yield name, folder and description of each installed model, or the error of one that is damaged."""
    for name in installed_names():
        try:
            folder = find_installed(name)
            assert folder is not None
            info = read_info(folder)
            check_seal(folder / WEIGHTS, info)
            yield name, folder, info
        except CheckpointError as error:
            yield CheckpointError(str(error) if str(error).startswith("model ") else f"model {name}: {error}")
