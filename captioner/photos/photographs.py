"""Photographs to caption: find them, open the encoder of the training images, and encode them in batches."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np

from captioner.captioning.captioner import ImageBatch
from captioner.captioning.load import check_regions, check_width
from captioner.captioning.saved_model import LoadedModel
from captioner.data.encoder_identity import Recipe, parse_identity, same_encoder
from captioner.errors import CheckpointError, DataError, UsageError
from captioner.photos.encoders import Encoded, Encoder, decode_for, encode_decoded, in_threads
from captioner.photos.photo import (
    HEIC_SUFFIXES,
    RAW_REMEDY,
    RAW_SUFFIXES,
    SUFFIXES,
    can_read_heic,
    heic_remedy,
    list_photos,
)
from captioner.photos.recipes import open_recipe, parse_recipe


class Known(NamedTuple):
    """A photograph that is not captioned, and the digest of its picture, if it was decoded."""

    path: Path
    digest: bytes = b""


def open_encoder_of(loaded: LoadedModel, recipe: str | None = None) -> Encoder:
    """Open the encoder of the training images.

    `recipe` replaces that of the checkpoint: with the path of an ONNX file, or for features of an encoder that the
    checkpoint does not identify. An ONNX file keeps the checkpoint's options.

    Raises: CheckpointError for another encoder, UsageError when the encoder is not found.
    """
    where, identity = loaded.path, loaded.meta.encoder
    known = parse_identity(identity)
    if recipe is not None:
        chosen = parse_recipe(recipe)
    elif known is not None:
        chosen = _find_file(known, loaded)
    else:
        raise UsageError(f"{where}: was trained on features of {identity}, which is not a known encoder; try --encoder")
    if known is not None and chosen.name == known.name:
        chosen = chosen._replace(options={**known.options, **chosen.options})
    encoder = open_recipe(chosen)
    if known is not None and not same_encoder(encoder.identity, identity):
        raise CheckpointError(
            f"{where}: expected encoder {identity}, got {encoder.identity}; use the encoder of the training images, "
            "or prepare the data set and train again with this one"
        )
    check_width(loaded, encoder.width, f"encoder {encoder.identity}")
    *grid, width = encoder.regions or (0,)
    check_regions(loaded, width, grid, hint="use an encoder with regions")
    return encoder


def _find_file(recipe: Recipe, loaded: LoadedModel) -> Recipe:
    """Find the file of `onnx:FILE`: in the current folder, the run folder, or the folder of the data set."""
    if not recipe.file:
        return recipe
    root = loaded.config.data.root
    folders = [Path(), loaded.path.parent, *([root if root.is_dir() else root.parent] if root else [])]
    path = next((path for folder in folders if (path := folder / recipe.file).is_file()), None)
    if path is None:
        raise UsageError(f"{loaded.path}: encoder {recipe.label} not found; try --encoder {recipe.name}:FILE")
    return recipe._replace(file=str(path))


def photo_paths(
    names: Iterable[str | os.PathLike[str] | DataError], part: tuple[int, int] | None = None
) -> Iterator[Path | DataError]:
    """List photographs: files by name, folders by their photographs in order, and errors of names without any.

    With `part` (I, N), only photographs whose CRC-32 of the path relative to the folder is I - 1 modulo N: photographs
    that are added later do not change the parts of others. Errors belong to the first part.
    """
    for name in names:
        if isinstance(name, DataError):
            yield name
            continue
        path = Path(name)
        if os.fspath(path).startswith(("http:/", "https:/")) and not os.path.lexists(path):  # a Path has one slash
            problem = DataError(f"{path}: URLs are not supported; download the photograph first")
            yield from [problem] if _is_in(part, problem, path) else []
        elif os.path.isdir(path):  # unlike Path.is_dir, it takes any name
            yield from (photo for photo in _photos_in(path) if _is_in(part, photo, path))
        elif _is_in(part, path, path.parent):
            yield path


def _is_in(part: tuple[int, int] | None, photo: Path | DataError, folder: Path) -> bool:
    if part is None:
        return True
    if isinstance(photo, DataError):
        return part[0] == 1
    return crc32(os.fsencode(photo.relative_to(folder))) % part[1] == part[0] - 1


def _photos_in(folder: Path) -> Iterator[Path | DataError]:
    unread: list[OSError] = []
    problems = {} if can_read_heic() else dict.fromkeys(HEIC_SUFFIXES, f"HEIC is not supported; {heic_remedy()}")
    problems |= dict.fromkeys(RAW_SUFFIXES, RAW_REMEDY)
    every = list_photos(folder, unread.append, SUFFIXES.union(HEIC_SUFFIXES, problems))
    if not every and not unread:
        yield DataError(f"{folder}: expected photographs in this folder, got none")
    photos: list[Path] = []
    others: dict[str, list[Path]] = {problem: [] for problem in problems.values()}
    for file in every:
        suffix = file.suffix.lower()
        (others[problems[suffix]] if suffix in problems else photos).append(file)
    yield from photos
    for error in unread:
        yield DataError(f"{error.filename}: cannot be read: {error.strerror}")
    for problem, files in others.items():
        if files and problem == RAW_REMEDY:  # a camera stores a raw file beside its JPEG
            stems = {photo.with_suffix("") for photo in photos}
            files = [file for file in files if file.with_suffix("") not in stems]
        if files:
            more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
            yield DataError(f"{files[0]}{more}: {problem}")


def photo_batch(photos: Sequence[Encoded], loaded: LoadedModel) -> ImageBatch:
    """Make a batch of photographs.

    A photograph is identified by its content: its samples depend on neither its name nor the order.
    """
    regions = None
    if loaded.meta.region_dim:
        regions = np.stack([photo.regions for photo in photos if photo.regions is not None])
    return ImageBatch(
        [os.fspath(photo.path) for photo in photos],
        np.stack([photo.features for photo in photos]),
        np.array([int.from_bytes(photo.digest[:8], "little") for photo in photos], np.uint64),
        regions,
        digests=[photo.digest.hex() for photo in photos],
    )


def photo_batches(
    loaded: LoadedModel,
    encoder: Encoder,
    photos: Iterable[Path | Known | DataError],
    size: int,
    known: Container[bytes] = (),
) -> Iterator[ImageBatch | Known | DataError]:
    """Encode photographs in batches of at most `size`, in order.

    The error of a photograph is yielded in its place; so are those whose picture has a digest in `known`, and what is
    no path among the photographs.
    """

    def work(photo: Path) -> Encoded | Known:
        decoded = decode_for(encoder, photo, photo_side=loaded.meta.photo_side)
        return Known(photo, decoded.digest) if decoded.digest in known else encode_decoded(encoder, decoded)

    encoded: Iterator[Encoded | Known | DataError] = in_threads(work, photos, loaded.config.threads)
    for _, group in groupby(encoded, lambda photo: isinstance(photo, Encoded)):
        while several := list(islice(group, size)):
            yield from (photo for photo in several if not isinstance(photo, Encoded))
            if new := [photo for photo in several if isinstance(photo, Encoded)]:
                yield photo_batch(new, loaded)
