"""Find the photograph of each image name in a caption file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path, PurePath

from captioner.config.options import Prepare
from captioner.errors import DataError
from captioner.files.user_files import caseless, check_images_folder
from captioner.images.photo_files import is_url
from captioner.preparation.image_records import parse_source

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Suffixes to try for a name without one."""
REMEDY = "add it, or correct its name in the caption file"
MAX_FOLDERS = 1000
"""The maximum number of folders to search for missing photographs."""


def photo_folder(sources: Sequence[str], options: Prepare) -> Path:
    """Return the folder of the photographs: `options.images`, or else the folder of the first source."""
    return options.images or parse_source(sources[0])[1].parent


def locate_photos(folder: Path, names: Sequence[str]) -> tuple[dict[str, Path], dict[str, DataError]]:
    """Find the photographs of image names, and the errors of missing ones, which suggest photographs in subfolders.

    Raises: DataError when the folder or all photographs are missing.
    """
    check_images_folder(folder, DataError)
    photos = find_all(folder, names)
    missing = [name for name, path in photos.items() if path is None]
    below = _below(folder, missing) if missing else {}
    if len(missing) == len(photos):
        first = next((name for name in missing if name in below), missing[0])
        hint = f", or include subfolders in the names: found {below[first]}" if below else ""
        raise DataError(
            f"{folder}: expected photographs, found none of {len(photos):,}, such as {first}; "
            f"name their folder with --images{hint}"
        )
    errors: dict[str, DataError] = {}
    for name in missing:
        remedy = f"found {below[name]}: names must include subfolders" if name in below else REMEDY
        problem = f"{folder / name}: photograph not found; {remedy}"
        if os.path.isfile(folder / name):  # find_photo does not follow it
            problem = (
                f"{name}: outside the folder of photographs {folder}; name a folder that contains it with --images"
            )
        elif os.path.islink(folder / name):
            problem = f"{folder / name}: broken link to {os.readlink(folder / name)}; restore the photograph"
        if is_url(name):
            problem = f"{name}: addresses are unsupported; download the photograph, and use its file name"
        errors[name] = DataError(problem)
    return {name: path for name, path in photos.items() if path is not None}, errors


def _below(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Find names without folders in the subfolders; return relative paths."""
    bare = {name for name in names if "/" not in name}
    below: dict[str, str] = {}
    for where, _, files in islice(os.walk(folder), MAX_FOLDERS):
        for name in bare.intersection(files):
            below.setdefault(name, Path(os.path.relpath(os.path.join(where, name), folder)).as_posix())
    return below


def find_all(folder: Path, names: Sequence[str]) -> dict[str, Path | None]:
    """Find the photograph of every name, or None; a file is never used for two names.

    A lone 1.jpg is neither cats/1.jpg nor dogs/1.jpg. A name without an exact match may match one file up to case and
    Unicode normalization (which differs between Linux and macOS).
    """
    exact = {name: find_photo(folder, name) for name in names}
    stems = Counter(PurePath(name).stem for name in dict.fromkeys(names))
    photos = {
        name: path if path is None or stems[PurePath(name).stem] == 1 or path.parent == (folder / name).parent else None
        for name, path in exact.items()
    }
    if None not in photos.values():
        return photos
    listing = cache(_listing)
    similar = {name: _find_similar(folder, name, listing) for name, path in photos.items() if path is None}
    taken = Counter([*photos.values(), *similar.values()])
    return {name: path or (similar[name] if taken[similar[name]] == 1 else None) for name, path in photos.items()}


def find_photo(folder: Path, name: str) -> Path | None:
    """Find the photograph of a name in a folder, with the folders of the name or without them.

    A caption file may be untrusted, so a photograph outside the folder is None. An absolute name may be that of a
    photograph before it was copied to the folder.
    """
    pure, folders = PurePath(name), (folder, Path(os.path.realpath(folder)))
    may_leave = bool(pure.anchor) or ".." in pure.parts
    for path in (folder / name, folder / pure.name):
        for suffix in ("", *(SUFFIXES if not path.suffix else ())):
            candidate = f"{path}{suffix}"
            if os.path.exists(candidate) and not os.path.isdir(candidate):  # os.path, unlike Path, accepts NULs
                if not may_leave or any(is_below(parent, Path(candidate)) for parent in folders):
                    return Path(candidate)
                if not pure.anchor:
                    return None
                break
    return None


def is_below(folder: Path, path: Path) -> bool:
    """Check whether a path is lexically inside a folder; links are not resolved."""
    try:
        inside = os.path.relpath(os.path.abspath(path), os.path.abspath(folder))
    except ValueError:  # on another drive
        return False
    return ".." not in (*PurePath(inside).parts, *path.parts[len(folder.parts) :])


def _find_similar(folder: Path, name: str, listing: Callable[[Path], dict[str, list[str]]]) -> Path | None:
    """Find the only file in a folder whose path is equal up to case and Unicode normalization."""
    for suffix in ("", *(SUFFIXES if not PurePath(name).suffix else ())):
        path = folder
        for part in PurePath(f"{name}{suffix}").parts:
            names = listing(path).get(caseless(part), [])
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
            names.setdefault(caseless(name), []).append(name)
    return names
