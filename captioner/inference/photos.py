"""Captions of photographs, by the encoder that the checkpoint names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import check_features
from captioner.errors import CaptionerError, CheckpointError, UsageError
from captioner.images import are_same, open_encoder, recognise
from captioner.images.encoder import Encoder
from captioner.images.encoding import encode_photos
from captioner.images.photo import UNKNOWN, is_photo_suffix, photos_in
from captioner.inference.captioner import Captioner
from captioner.inference.captions import Caption
from captioner.inference.restore import Speaker, check_width
from captioner.preparation.find_photos import is_address
from captioner.storage.atomic import write_atomically

AT_ONCE = 16
"""Photographs of a thread that are decoded together: few enough that the first captions come soon."""


class Failed(NamedTuple):
    """A photograph that has no caption, or whose caption could not be written, and why."""

    path: Path
    problem: str

    def __str__(self) -> str:
        return self.problem


def open_encoder_of(
    restored: Speaker, given: str | None = None, given_options: Mapping[str, str] | None = None
) -> Encoder:
    """The encoder whose features a model was trained on; `given` says where it is, or who it is where that is not
    known: of features that somebody else has made. Its options stand in the checkpoint, where it is known.

    Raises: CheckpointError when it is another, UsageError when it is not to be found.
    """
    where, identity = restored.path, restored.meta.encoder
    known = recognise(identity)
    if known is None and given is None:
        raise UsageError(
            f"{where}: was trained on {identity}, which tells no encoder; name the one that made them with --encoder"
        )
    name, options = known or (given or "", {})
    chosen = given or _find(name, restored)
    # another kind of encoder takes no options of this one's, and is refused below
    options = options if chosen.partition(":")[0] == name.partition(":")[0] else {}
    encoder = open_encoder(chosen, {**options, **(given_options or {})})
    if known is not None and not are_same(encoder.identity, identity):
        raise CheckpointError(f"{where}: expected the encoder {identity}, got {encoder.identity}; use that one")
    check_width(restored, encoder.width, f"encoder {encoder.identity}")
    return encoder


def _find(name: str, restored: Speaker) -> str:
    """`onnx:FILE` with the folder in which that file is: this one, the run's, or the data set's."""
    kind, colon, file = name.partition(":")
    if not colon:
        return name
    root = restored.config.data.root
    folders = [Path(), restored.path.parent, *([root if root.is_dir() else root.parent] if root else [])]
    for folder in folders:
        if (folder / file).is_file():
            return f"{kind}:{folder / file}"
    raise UsageError(f"{restored.path}: needs the encoder {name}, which is not here; say --encoder {kind}:FILE")


def find_photos(names: Iterable[str | os.PathLike[str]]) -> Iterator[Path | Failed]:
    """The photographs that names stand for, those of a folder by name, and then the folders that cannot be read."""
    for path in map(Path, names):
        if is_address(path) and not os.path.lexists(path):
            yield Failed(path, f"{path}: photographs are not fetched from the net; download it, and name the file")
            continue
        if not os.path.isdir(path):  # unlike Path.is_dir, it takes any name
            yield path
            continue
        unread: list[OSError] = []
        found = photos_in(path, unread.append)
        yield from found
        for error in unread:
            yield Failed(Path(error.filename), f"{error.filename}: cannot be read: {error.strerror}")
        if unknown := photos_in(path, lambda error: None, UNKNOWN):
            others = f" and {len(unknown) - 1:,} more are" if len(unknown) > 1 else " is"
            yield Failed(unknown[0], f"{unknown[0]}{others} HEIC and left out; convert to JPEG first")
        elif not found and not unread:
            yield Failed(path, f"{path}: expected photographs in this folder, got none")


def caption_photos(
    captioner: Captioner, encoder: Encoder, photos: Iterable[Path | Failed], best: int = 1, most: int | None = None
) -> Iterator[Caption | Failed]:
    """Caption photographs (or the first `most`) in their order; one that cannot be read does not stop the others.

    What was no photograph to begin with comes last.
    """
    threads = captioner.speaker.config.threads

    def readable() -> Iterator[Path]:
        for photo in photos:
            if isinstance(photo, Failed):
                failed.append(photo)
            else:
                yield photo

    failed: list[Failed] = []
    encoded = encode_photos(encoder, islice(readable(), None if most is None else min(most, sys.maxsize)), threads)
    while some := list(islice(encoded, AT_ONCE * threads)):
        rows = [one.features for one in some if one.features is not None]
        # a photograph is known by its content, so that its samples are the same under any name and in any order
        numbers = [int.from_bytes(one.digest[:8], "little") for one in some if one.features is not None]
        images = np.array(numbers, np.uint64)
        captions = captioner.caption(_checked(rows, encoder), best, images=images) if rows else iter(())
        for one in some:
            if one.features is None:
                yield Failed(one.path, str(one.problem))
                continue
            found = next(captions)
            yield Caption(os.fspath(one.path), *found[0], [], None, found if best > 1 else None)
    yield from failed


def _checked(rows: Sequence[Array], encoder: Encoder) -> Array:
    features = np.stack(rows)
    check_features(features, f"{encoder.identity}: features")
    return features


def check_suffix(suffix: str) -> None:
    """Raises: UsageError for what is no suffix of texts; one of photographs would replace them."""
    if len(suffix) < 2 or not suffix.startswith(".") or "/" in suffix or is_photo_suffix(suffix):
        raise UsageError(f"--write-sidecar {suffix}: expected a suffix such as .txt")


class Sidecars:
    """Captions beside their photographs: photo.jpg -> photo.txt. A file that is there already is left as it is, unless
    it may be overwritten; none is written for two photographs.
    """

    def __init__(self, suffix: str, overwrite: bool = False) -> None:
        self.suffix = suffix
        self.overwrite = overwrite
        self.left = 0
        """The number of files that were there already."""
        self._owners: dict[str, str] = {}

    def write(self, caption: Caption) -> None:
        """Raises: CaptionerError when another photograph of this run has the same file, or it cannot be written."""
        photo = Path(caption.image)
        path = photo.with_suffix(self.suffix)
        if path == photo:
            raise CaptionerError(f"{path}: is the photograph itself; choose another suffix")
        place = os.path.join(os.path.realpath(path.parent), path.name)
        owner = self._owners.setdefault(place, caption.image)
        if os.path.realpath(owner) != os.path.realpath(photo):
            raise CaptionerError(f"{path}: is for {owner}, and {photo} has the same; rename one of the photographs")
        if os.path.lexists(path) and not self.overwrite:
            self.left += 1
            return
        try:
            write_atomically(path, (f"{caption.caption}\n".encode(),))
        except OSError as error:
            raise CaptionerError(f"{path}: cannot be written: {error.strerror or error}") from error
