"""The photographs that names in a table stand for."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import NamedTuple

from captioner.config.options import Prepare
from captioner.errors import DataError
from captioner.preparation.image_records import Collected, named_source

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Tried when a name in a table has none."""
FOLDERS = 1000
"""So many folders are searched for photographs that are not where they should be."""


class Unreadable(NamedTuple):
    """A photograph that is missing or cannot be read; its captions are left out."""

    image: str
    problem: str

    def __str__(self) -> str:
        return self.problem


def photo_folder(sources: Sequence[str], options: Prepare) -> Path:
    """The folder that names of images start from: the one that is said, or that of the first source."""
    return options.images or named_source(sources[0])[1].parent


def located(folder: Path, names: Sequence[str]) -> tuple[dict[str, Path], list[Unreadable]]:
    """The photographs of names, and the names that have none, with a photograph below the folder that may be meant.

    Raises: DataError when there is no such folder, or no photograph at all.
    """
    if not os.path.isdir(folder):
        raise DataError(f"{folder}: no such folder; name that of the photographs with --images")
    found = find_all(folder, names)
    missing = [name for name, path in found.items() if path is None]
    below = _below(folder, missing) if missing else {}
    hints = {name: f"; {below[name]} is there: the names must include subfolders" for name in below}
    if len(missing) == len(found):
        first = next((name for name in missing if name in below), missing[0])
        there = f", or in the names the subfolders: {below[first]} is there" if below else ""
        raise DataError(
            f"{folder}: expected the photographs, got none of {len(found):,}, such as {first}; "
            f"name their folder with --images{there}"
        )
    lost = []
    for name in missing:
        problem = f"{folder / name}: no such photograph{hints.get(name, '')}"
        if os.path.islink(folder / name):
            problem = f"{folder / name}: no such photograph: a link to a file that is not there"
        if is_address(name):
            problem = f"{name}: photographs are not fetched from the net; download it, and name the file"
        lost.append(Unreadable(name, problem))
    return {name: path for name, path in found.items() if path is not None}, lost


def missing_photos(collected: Collected, folder: Path) -> list[Unreadable]:
    """The images whose photographs are not in a folder.

    Raises: as `located`.
    """
    return located(folder, [one.image for one in chain(*collected.splits.values())])[1]


def _below(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Of names without folders, the photograph of that name in a folder below, by its path from here."""
    bare = {name for name in names if "/" not in name}
    below: dict[str, str] = {}
    for where, _, files in islice(os.walk(folder), FOLDERS):
        for name in bare.intersection(files):
            below.setdefault(name, os.path.relpath(os.path.join(where, name), folder))
    return below


def find_all(folder: Path, names: Sequence[str]) -> dict[str, Path | None]:
    """The photograph of every name, where there is one; without its folders no name stands for two.

    Where there is 1.jpg alone, it is neither cats/1.jpg nor dogs/1.jpg. A name that has none may differ from that of
    one photograph by capitals or by how its accents are written (as between Linux and macOS).
    """
    found = {name: find_photo(folder, name) for name in names}
    stems = Counter(PurePath(name).stem for name in found)
    found = {
        name: path if path is None or stems[PurePath(name).stem] == 1 or path.parent == (folder / name).parent else None
        for name, path in found.items()
    }
    if None not in found.values():
        return found
    listing = cache(_listing)
    alike = {name: _alike(folder, name, listing) for name, path in found.items() if path is None}
    taken = Counter([*found.values(), *alike.values()])
    return {name: path or (alike[name] if taken[alike[name]] == 1 else None) for name, path in found.items()}


def find_photo(folder: Path, name: str) -> Path | None:
    """The photograph of a name that a table has: below the folder, or there without its own folders."""
    for path in (folder / name, folder / PurePath(name).name):
        for suffix in ("", *(SUFFIXES if not path.suffix else ())):
            candidate = f"{path}{suffix}"
            if os.path.exists(candidate) and not os.path.isdir(candidate):  # unlike Path, they take any name
                return Path(candidate)
    return None


def is_below(folder: Path, path: Path) -> bool:
    """Whether a path stays in a folder by its name, whatever links there are in it."""
    inside = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
    return ".." not in (*PurePath(inside).parts, *path.parts[len(folder.parts) :])


def _alike(folder: Path, name: str, listing: Callable[[Path], dict[str, list[str]]]) -> Path | None:
    """The only photograph below a folder whose name is the same but for capitals and normal form."""
    for suffix in ("", *(SUFFIXES if not PurePath(name).suffix else ())):
        path = folder
        for part in PurePath(f"{name}{suffix}").parts:
            names = listing(path).get(_plain(part), [])
            if len(names) != 1:
                break
            path = path / names[0]
        else:
            if path.is_file():
                return path
    return None


def _listing(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    with suppress(OSError, ValueError):
        for name in os.listdir(folder):
            names.setdefault(_plain(name), []).append(name)
    return names


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_address(name: str | os.PathLike[str]) -> bool:
    """Whether a name is an address in the net, as it is or as a path, which has but one slash."""
    return os.fspath(name).startswith(("http:/", "https:/"))
