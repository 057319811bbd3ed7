"""The features of photographs for a data set: encoded here, or taken from a file of somebody who has done it."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cache
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from captioner.config import ENCODER, Prepare
from captioner.data.corpus import Features
from captioner.data.features import open_features
from captioner.data.splits import Pictured
from captioner.errors import DataError, UsageError
from captioner.run.collect import Collected, named_source

if TYPE_CHECKING:
    from captioner.images.encoder import Encoder

SUFFIXES = (".jpg", ".jpeg", ".png")
"""Tried when a name in a table has none."""
FOLDERS = 1000
"""So many folders are searched for photographs that are not where they should be."""
COMPARED = 16
"""Photographs that are encoded to see whether given features are those of the encoder that they are said to be of."""
TOLERANCE = 1e-2


class Encoding(NamedTuple):
    """`done` of `total` photographs are encoded, `before` of them by an earlier run."""

    done: int
    total: int
    before: int


class Unreadable(NamedTuple):
    """A photograph that is missing or cannot be read; its captions are left out."""

    image: str
    problem: str

    def __str__(self) -> str:
        return self.problem


class Discarded(NamedTuple):
    """What an interrupted run had encoded, by another encoder or in another precision, is thrown away."""

    store: Path

    def __str__(self) -> str:
        return f"{self.store}: another encoder or precision made what was encoded before; all is encoded anew"


class Work(NamedTuple):
    """What features are wanted for, and those photographs that have none."""

    images: Sequence[Pictured]
    options: Prepare
    encoder_options: Mapping[str, str]
    folder: Path
    strict: bool
    all_lost: list[Unreadable]

    def lost(self, image: str, problem: str) -> Unreadable:
        if self.strict:
            raise DataError(f"{problem}; without --strict it is left out and counted")
        self.all_lost.append(Unreadable(image, problem))
        return self.all_lost[-1]


class Found(NamedTuple):
    """Features, the row of every image that has one, whose they are, and the number of images not to be found."""

    features: Features
    rows: dict[str, int]
    encoder: str
    dtype: np.dtype[Any]
    missing: int


def given(work: Work, path: Path) -> Generator[Encoding | Unreadable, None, Found]:
    """The rows of a file that somebody has encoded."""
    if work.encoder_options and work.options.encoder is None:
        raise UsageError(f"{path}: expected an encoder with --encoder-option; name the one of these features")
    features = open_features(path)
    count = features.shape[0]
    rows = {one.image: one.row for one in work.images if one.row < count}
    for one in work.images:
        if one.row >= count:
            yield work.lost(one.image, f"{one.image}: expected a row of {path} below {count:,}, got {one.row:,}")
    if not rows:
        raise DataError(f"{path}: expected a row for each image, got {count:,} rows and none that an image has")
    if len(set(rows.values())) < len(rows):
        row, many = Counter(rows.values()).most_common(1)[0]
        names = ", ".join(name for name in rows if rows[name] == row)
        raise DataError(f"{path}: row {row}: expected one image, got {many} ({names:.80}); prepare each file by itself")
    identity = f"features:{path.name},sha256={sha256_of(path)}"
    if work.options.encoder is not None:
        from captioner.images import open_encoder

        encoder = open_encoder(work.options.encoder, work.encoder_options)
        _compare(encoder, features, rows, work.folder, path)
        identity = encoder.identity
    dtype = np.dtype(work.options.dtype)
    return Found(features, rows, identity, dtype, len(work.images) - len(rows))


def encoded(work: Work, store: Path) -> Generator[Encoding | Unreadable | Discarded, None, Found]:
    """Features of the photographs themselves."""
    from captioner.images import nameless, open_encoder

    encoder = open_encoder(work.options.encoder or ENCODER, work.encoder_options)
    from captioner.images.encoding import Store, encode_photos  # both need Pillow, which only the first asks for kindly

    found, missing = located(work.folder, [one.image for one in work.images])
    for image, problem in missing:
        yield work.lost(image, problem)
    names, paths = list(found), list(found.values())
    dtype = np.dtype(work.options.dtype)
    rows: dict[str, int] = {}
    try:
        with Store(store, nameless(encoder.identity), encoder.width, dtype) as kept:
            if kept.discarded:
                yield Discarded(store)
            before = 0
            with closing(encode_photos(encoder, paths, work.options.threads, list(kept.rows))) as encoded:
                for done, (name, one) in enumerate(zip(names, encoded, strict=True), 1):
                    if one.problem is not None:
                        yield work.lost(name, str(one.problem))
                    else:
                        before += one.features is None
                        if one.features is not None and one.digest not in kept.rows:
                            kept.add(one.digest, one.features)
                        rows[name] = kept.rows[one.digest]
                    yield Encoding(done, len(names), before)
            if not rows:
                raise DataError(f"{work.folder}: expected photographs, got none that can be read")
            return Found(kept.features(), rows, encoder.identity, dtype, len(missing))
    except OSError as error:
        raise DataError(f"{store}: cannot keep what is encoded: {error.strerror or error}") from error


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


def _compare(encoder: Encoder, features: Features, rows: Mapping[str, int], folder: Path, path: Path) -> None:
    """Raises: DataError when features are not those of the encoder, as far as photographs are there to tell."""
    from captioner.images.encoding import encode_photos

    if features.shape[1] != encoder.width:
        raise DataError(
            f"{path}: expected {encoder.width} numbers an image, as {encoder.identity} has, got {features.shape[1]}"
        )
    found = ((photo, name) for name, photo in find_all(folder, list(rows)).items() if photo)
    photos = dict(islice(found, COMPARED))
    for one in encode_photos(encoder, photos):
        if one.features is None:
            continue
        given = features[rows[photos[one.path]]].astype(np.float64)
        apart = float(np.linalg.norm(given - one.features)) / max(float(np.linalg.norm(one.features)), 1e-30)
        if apart > TOLERANCE:
            raise DataError(
                f"{path}: expected the features of {encoder.identity}, got others: those of {one.path.name} are apart "
                f"by {apart:.1%}; name the encoder that made them with --encoder"
            )


def photo_folder(sources: Sequence[str], options: Prepare) -> Path:
    """The folder that names of images start from: the one that is said, or that of the first source."""
    return options.images or named_source(sources[0])[1].parent


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
