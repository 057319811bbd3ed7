"""Installed model packages, found by the entry points of the group `captioner.models`.

An entry point names a model and its Python package. The package is located, but never imported: it contains data, and
its code does not run. `importlib.metadata` is imported only for a name of a model: other commands start faster
without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from captioner.errors import CheckpointError
from captioner.inference.package_info import WEIGHTS, PackageInfo, check_seal, is_name, read_info
from captioner.printable import quoted

if TYPE_CHECKING:
    from importlib import metadata

GROUP = "captioner.models"
MAX_NAMED = 10


def installed_names() -> list[str]:
    """List the names of the installed models in alphabetical order."""
    return sorted({entry.name for entry in _entries() if is_name(entry.name)})


def _entries() -> list[metadata.EntryPoint]:
    """Return the entry points of the group, without those of distributions whose file of entry points is damaged."""
    from importlib import metadata

    try:
        return list(metadata.entry_points(group=GROUP))
    except (TypeError, ValueError):  # one damaged file, of any distribution, makes this function fail
        return [entry for distribution in metadata.distributions() for entry in _entries_of(distribution)]


def _entries_of(distribution: metadata.Distribution) -> list[metadata.EntryPoint]:
    try:
        return list(distribution.entry_points.select(group=GROUP))
    except (TypeError, ValueError):
        return []


def find_installed(name: str) -> Path | None:
    """Return the folder of the Python package of an installed model, or None if no model has this name.

    Raises: CheckpointError when two packages have this model, or its files are not found.
    """
    if not is_name(name):
        return None
    values = sorted({entry.value for entry in _entries() if entry.name == name})
    if not values:
        return None
    if len(values) > 1:
        raise CheckpointError(
            f"model {name}: expected one installed package, got {', '.join(map(quoted, values))}; uninstall one"
        )
    folders = _locate(values[0])
    if not folders:
        raise CheckpointError(f"model {name}: package {quoted(values[0])} not found; install it again")
    return Path(folders[0])


def _locate(module: str) -> list[str]:
    """Return the folders of a package, which is not imported; an empty list if it is not found."""
    if not module.isidentifier():  # `find_spec` would import the parent of a dotted name
        return []
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return []
    return [] if spec is None else list(spec.submodule_search_locations or ())


def describe_installed() -> Iterator[tuple[str, Path, PackageInfo] | CheckpointError]:
    """Yield name, folder and description of each installed model, or the error of one that is damaged."""
    for name in installed_names():
        try:
            folder = find_installed(name)
            assert folder is not None
            info = read_info(folder)
            check_seal(folder / WEIGHTS, info)
            if info.name != name:
                raise CheckpointError(f"{folder}: expected the model {name}, got {info.name}")
            yield name, folder, info
        except CheckpointError as error:
            yield CheckpointError(str(error) if str(error).startswith("model ") else f"model {name}: {error}")


def named_models() -> str:
    """Name the installed models, for the message of a missing run; an empty text without any."""
    names = installed_names()
    if not names:
        return ""
    more = ", ..." if len(names) > MAX_NAMED else ""
    return f", or an installed model ({', '.join(names[:MAX_NAMED])}{more})"
