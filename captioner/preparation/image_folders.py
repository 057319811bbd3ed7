"""The folders of photographs and the feature files of caption files: photograph and feature row of each image name."""

from __future__ import annotations

import os
import shlex
import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path, PurePath
from typing import TypeVar

from captioner.config.options import Prepare
from captioner.data.caption_readers import CaptionRecord, Issue, split_name
from captioner.data.image_names import image_name, without_folders
from captioner.errors import CaptionerError, DataError, UsageError

T = TypeVar("T")
SUFFIXES = (".jpg", ".jpeg", ".png")
"""Suffixes to try for a name without one."""
REMEDY = "add it, or correct its name in the caption file"
SEARCHED = 100_000
"""The maximum number of files in subfolders among which a photograph is searched for a hint."""


@dataclass
class ImageFolder:
    """Caption files whose image names refer to one folder of photographs, or to one feature file.

    `names` are all image names in these files, also those without a valid caption; `images` has the name in the data
    set of each that has one.
    """

    path: Path
    features: Path | None
    sources: list[str] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    """The number of issues of each kind that are no mistakes."""

    def select(self, images: Container[str]) -> dict[str, str]:
        """Return the names in this folder of the images that are among `images`, with their names in the data set."""
        return {name: image for name, image in self.images.items() if image in images}


def group_by_folder(sources: Sequence[str], options: Prepare) -> list[ImageFolder]:
    """Group caption files by folder and feature file.

    Raises: UsageError unless there is one folder and one feature file for each caption file or for all.
    """

    def each(option: str, values: Sequence[T]) -> Sequence[T]:
        if len(values) not in (1, len(sources)):
            expected = f"one for all {len(sources):,} caption files, or one for each"
            raise UsageError(f"--{option}: expected {expected}, got {len(values):,}")
        return values if len(values) > 1 else [values[0]] * len(sources)

    paths = each("images", options.images or [parse_source(source)[1].parent for source in sources])
    folders: dict[tuple[str, str], ImageFolder] = {}
    for source, path, features in zip(sources, paths, each("features", options.features or [None]), strict=True):
        file = os.path.realpath(features or "")
        folder = folders.setdefault((os.path.realpath(path), file), ImageFolder(path, features))
        folder.sources.append(source)
    return list(folders.values())


def source_names(sources: Sequence[str]) -> dict[str, str]:
    """Name each caption file: without its suffix, or, if several are named alike, by the folders that differ."""
    paths = {source: Path(os.path.abspath(parse_source(source)[1])).with_suffix("") for source in sources}
    files = Counter(path.name for path in set(paths.values()))
    paths = {source: path if files[path.name] == 1 else path.parent for source, path in paths.items()}
    for depth in range(1, 1 + max(len(path.parts) for path in paths.values())):
        names = {source: "/".join(path.parts[-depth:]) for source, path in paths.items()}
        if len(set(names.values())) == len(set(paths.values())):
            break
    return names


def parse_source(source: str) -> tuple[str | None, Path]:
    """Parse SPLIT=FILE or FILE; an existing file of the whole name takes precedence."""
    split, equals, path = source.partition("=")
    if not equals or os.path.exists(source) or not split.isidentifier():
        return None, Path(source)
    return split_name(split), Path(path)


def default_output(source: str) -> Path:
    """Return FOLDER.h5, beside the folder of a caption file, or FILE.h5 for a file in the current folder."""
    path = parse_source(source)[1]
    name, folder = path.parent.name, path.parent.parent
    return Path(f"{path.stem}.h5") if name in ("", "..") else folder / f"{name}.h5"


def check_images_folder(
    folder: str | os.PathLike[str] | None, error: Callable[[str], CaptionerError] = UsageError
) -> None:
    """Raises: `error` if a folder of photographs is set but does not exist."""
    if folder is not None and not os.path.isdir(folder):
        raise error(f"{folder}: folder not found; set the folder of the photographs with --images")


def locate_photos(folder: ImageFolder, images: Container[str]) -> tuple[dict[str, Path], dict[str, DataError]]:
    """Find the photographs of those of the images that are in a folder, and the errors of missing ones.

    Raises: DataError when the folder or all photographs are missing; it suggests one in a subfolder.
    """
    names = folder.select(images)
    if not names:
        return {}, {}
    check_images_folder(folder.path, DataError)
    photos = find_all(folder.path, list(names), folder.names)
    if not any(photos.values()):
        first, files = next(iter(photos)), islice(folder.path.rglob("*"), SEARCHED)
        below = next((path for path in files if path.name == first and path.is_file()), None)
        hint = f", or include subfolders in the names: found {below.relative_to(folder.path)}" if below else ""
        outside = [os.path.dirname(name) for name in photos if name.startswith("../")]
        where = f" {shlex.quote(os.path.normpath(folder.path / os.path.commonpath(outside)))}" if outside else ""
        raise DataError(
            f"{folder.path}: expected photographs, found none of {len(photos):,}, such as {first}; "
            f"set their folder with --images{where}{hint}"
        )
    found = {names[name]: path for name, path in photos.items() if path is not None}
    missing = {names[name]: _missing(folder.path, name) for name, path in photos.items() if path is None}
    return found, missing


def _missing(folder: Path, name: str) -> DataError:
    """Return the error of a name without a photograph."""
    if os.path.isfile(folder / name) and _inside(folder, name) is None:
        return DataError(
            f"{name}: outside the folder of photographs {folder}; set a folder that contains it with --images"
        )
    return DataError(f"{folder / name}: photograph not found; {REMEDY}")


def named_in(folder: Path, table: Path, record: CaptionRecord | Issue) -> CaptionRecord | Issue:
    """Name the photograph of a record relative to a folder, if it is outside that of the table, such as ../al/p.jpg."""
    name = image_name(record.image or "")
    if not name.startswith("../"):
        return record
    place = os.path.normpath(os.path.join(os.path.realpath(table.parent), name))
    return record._replace(image=Path(os.path.relpath(place, os.path.realpath(folder))).as_posix())


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
    """Find a name with its folders or fewer, with a suffix if it has none, up to case and Unicode normalization."""
    bare = PurePath(name).name
    if not bare or ".." in PurePath(name).parts:
        return None
    for candidate in (*([str(inside)] if inside else []), *without_folders(name)):
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
