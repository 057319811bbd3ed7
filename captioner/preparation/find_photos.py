"""Find the photograph of each image name in a caption file."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from pathlib import Path, PurePath

from captioner.errors import CaptionerError, DataError, UsageError
from captioner.files.user_files import sha256_of
from captioner.preparation.image_folders import ImageFolder

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Suffixes to try for a name without one."""
REMEDY = "add it, or correct its name in the caption file"
MAX_FOLDERS = 1000
"""The maximum number of folders to search for missing photographs."""


def check_images_folder(
    folder: str | os.PathLike[str] | None, error: Callable[[str], CaptionerError] = UsageError
) -> None:
    """Raises: `error` if a folder of photographs is set but does not exist."""
    if folder is not None and not os.path.isdir(folder):
        raise error(f"{folder}: folder not found; set the folder of the photographs with --images")


def locate_images(
    folders: Sequence[ImageFolder], images: Container[str]
) -> tuple[dict[str, Path], dict[str, DataError]]:
    """Find the photographs of images, each in its folder, and errors of missing ones. Raises: as `locate_photos`."""
    photos: dict[str, Path] = {}
    missing: dict[str, DataError] = {}
    for folder in folders:
        if names := folder.select(images):
            found, errors = locate_photos(folder.path, list(names), folder.rows.by_image)
            photos |= {names[name]: path for name, path in found.items()}
            missing |= {names[name]: error for name, error in errors.items()}
    return photos, missing


def check_different(folders: Sequence[ImageFolder], photos: Mapping[str, Path]) -> None:
    """Compare the photographs of different folders by their bytes. Raises: DataError for one that is in two."""
    same_size: dict[int, list[tuple[ImageFolder, str]]] = {}
    for folder in folders if len(folders) > 1 else ():
        for image in filter(photos.__contains__, folder.images.values()):
            same_size.setdefault(os.path.getsize(photos[image]), []).append((folder, image))
    pairs: list[str] = []
    for size, members in same_size.items():
        first: dict[str, tuple[ImageFolder, str]] = {}
        for folder, image in members if size and len({folder.path for folder, _ in members}) > 1 else ():
            with suppress(DataError):  # reported when the photograph is encoded
                other, twin = first.setdefault(sha256_of(photos[image]), (folder, image))
                pairs += [f"{twin} and {image}"] * (other is not folder)
    if pairs:
        raise DataError(f"{pairs[0]}: the same photograph in two folders; leave one out ({len(pairs):,} in total)")


def locate_photos(
    folder: Path, names: Sequence[str], others: Iterable[str] = ()
) -> tuple[dict[str, Path], dict[str, DataError]]:
    """Find the photographs of image names, and the errors of missing ones; `others` are as in `find_all`.

    Raises: DataError when the folder or all photographs are missing; it suggests one in a subfolder.
    """
    check_images_folder(folder, DataError)
    photos = find_all(folder, names, others)
    missing = [name for name, path in photos.items() if path is None]
    if len(missing) == len(photos):
        first, below = _find_below(folder, missing) or (missing[0], "")
        hint = f", or include subfolders in the names: found {below}" if below else ""
        raise DataError(
            f"{folder}: expected photographs, found none of {len(photos):,}, such as {first}; "
            f"set their folder with --images{hint}"
        )
    found = {name: path for name, path in photos.items() if path is not None}
    return found, {name: DataError(_problem(folder, name)) for name in missing}


def _problem(folder: Path, name: str) -> str:
    """Describe why the photograph of a name is missing."""
    if is_url(name):
        return f"{name}: addresses are unsupported; download the photograph, and use its file name"
    if os.path.isfile(folder / name) and _inside(folder, name) is None:
        return f"{name}: outside the folder of photographs {folder}; set a folder that contains it with --images"
    return f"{folder / name}: photograph not found; {REMEDY}"


def _find_below(folder: Path, names: Sequence[str]) -> tuple[str, str] | None:
    """Find a name without folders in the subfolders; return it and its relative path."""
    bare = [name for name in names if "/" not in name]
    for where, _, files in islice(os.walk(folder), MAX_FOLDERS):
        present = set(files)
        if name := next(filter(present.__contains__, bare), None):
            return name, Path(os.path.relpath(os.path.join(where, name), folder)).as_posix()
    return None


def find_all(folder: Path, names: Sequence[str], others: Iterable[str] = ()) -> dict[str, Path | None]:
    """Find the photograph of every name in a folder, or None.

    A name may differ from that of its photograph in folders (of where the photographs were before), a missing suffix,
    case, and Unicode normalization (which differs between Linux and macOS), but only if no other name is similar: a
    lone 1.jpg is neither cats/1.jpg nor dogs/1.jpg. `others` are further names, such as those of skipped images.

    A caption file may be untrusted, so a photograph outside the folder is None.
    """
    stems = Counter(_stem(name) for name in dict.fromkeys((*names, *others)))
    listing = cache(_listing)
    photos: dict[str, Path | None] = {}
    for name in names:
        inside = _inside(folder, name)
        if inside is not None and os.path.isfile(folder / inside):  # os.path, unlike Path, accepts NULs
            photos[name] = folder / inside
        else:
            photos[name] = _find_similar(folder, name, inside, listing) if stems[_stem(name)] == 1 else None
    return photos


def _inside(folder: Path, name: str) -> PurePath | None:
    """Return a name relative to the folder, or None if it leads outside."""
    path = PurePath(name)
    if not path.name or ".." in path.parts:
        return None
    if not path.is_absolute():
        return path
    parents = (os.path.abspath(folder), os.path.realpath(folder))
    return next((path.relative_to(parent) for parent in parents if path.is_relative_to(parent)), None)


def _find_similar(
    folder: Path, name: str, inside: PurePath | None, listing: Callable[[Path], dict[str, list[str]]]
) -> Path | None:
    """Find a name with its folders or without, with a suffix if it has none, up to case and Unicode normalization."""
    bare = PurePath(name).name
    if not bare or ".." in PurePath(name).parts:
        return None
    for candidate in (*([str(inside)] if inside else []), bare):
        for suffix in ("", *(SUFFIXES if not PurePath(bare).suffix else ())):
            path = folder
            for part in PurePath(f"{candidate}{suffix}").parts:
                alike = listing(path).get(_caseless(part), [])
                if part not in alike and len(alike) != 1:
                    break
                path = path / (part if part in alike else alike[0])
            else:
                if path.is_file():
                    return path
    return None


def _listing(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    with suppress(OSError, ValueError):
        for name in os.listdir(folder):
            names.setdefault(_caseless(name), []).append(name)
    return names


def _stem(name: str) -> str:
    return _caseless(PurePath(name).stem)


def _caseless(name: str) -> str:
    """Return a key of a file name that is equal for names that differ in case or Unicode normalization alone."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_url(name: str | os.PathLike[str]) -> bool:
    """Check whether a name is a URL; a Path of a URL has one slash."""
    return os.fspath(name).startswith(("http:/", "https:/"))
