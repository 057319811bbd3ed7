"""Caption photographs with the encoder of the training images."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from captioner.data.shard import Shard
from captioner.errors import CheckpointError, UsageError
from captioner.images import heic, open_parts
from captioner.images.encoder import Encoder
from captioner.images.encoding import Encoded, encode_photos
from captioner.images.photo import list_photos
from captioner.images.recipe import Part, parse_identity, parse_recipe, same_encoder, with_options
from captioner.inference.caption import Caption, Decoded
from captioner.inference.captioner import Captioner
from captioner.inference.restore import LoadedModel, check_regions, check_width
from captioner.preparation.find_photos import Unreadable, is_url

BATCH = 16
"""Photographs per thread that are decoded together: few, so that the first captions appear soon."""


def open_encoder_of(
    loaded: LoadedModel, given: str | None = None, given_options: Mapping[str, str] | None = None
) -> Encoder:
    """Open the encoder of the training images.

    `given` is a recipe that replaces the one in the checkpoint: with the paths of ONNX files, or for features of an
    encoder that the checkpoint does not identify. If its encoders have the names of those in the checkpoint, they keep
    the checkpoint's options. `given_options` are added.

    Raises: CheckpointError for another encoder, UsageError when the encoder is not found.
    """
    where, identity = loaded.path, loaded.meta.encoder
    known = parse_identity(identity)
    if known is None and given is None:
        raise UsageError(f"{where}: was trained on features of {identity}, which is not a known encoder; try --encoder")
    chosen = _find_files(known or [], loaded) if given is None else parse_recipe(given)
    if known is not None and [part.name for part in chosen] == [part.name for part in known]:
        pairs = zip(chosen, known, strict=True)
        chosen = [part._replace(options={**same.options, **part.options}) for part, same in pairs]
    encoder = open_parts(with_options(chosen, given_options or {}))
    if known is not None and not same_encoder(encoder.identity, identity):
        raise CheckpointError(
            f"{where}: expected encoder {identity}, got {encoder.identity}; use the encoder of the training images"
        )
    check_width(loaded, encoder.width, f"encoder {encoder.identity}")
    *grid, width = encoder.regions or (0,)
    check_regions(loaded, width, grid, hint="use an encoder with regions")
    return encoder


def _find_files(parts: Sequence[Part], loaded: LoadedModel) -> list[Part]:
    """Find the files of `onnx:FILE`: in the current folder, the run folder, or the folder of the data set."""
    root = loaded.config.data.root
    folders = [Path(), loaded.path.parent, *([root if root.is_dir() else root.parent] if root else [])]
    found = []
    for part in parts:
        path = next((path for folder in folders if (path := folder / part.file).is_file()), None)
        if part.file and path is None:
            recipe = "+".join(f"{one.name}:FILE" if one.file else one.name for one in parts)
            raise UsageError(f"{loaded.path}: encoder {part.label} not found; try --encoder {recipe}")
        found.append(part if path is None else part._replace(file=str(path)))
    return found


def photo_warning(loaded: LoadedModel) -> str | None:
    """Return a warning if photographs are given to a model of generated scenes."""
    if loaded.config.data.source != "scenes":
        return None
    return (
        f"{loaded.path} was trained on generated scenes of coloured shapes, so its captions do not describe "
        "photographs; train on photographs with captions: captioner prepare --help"
    )


def photo_paths(names: Iterable[str | os.PathLike[str]]) -> Iterator[Path | Unreadable]:
    """List photographs: files by name, folders by their photographs in order, and what cannot be used."""
    for path in map(Path, names):
        if is_url(path) and not os.path.lexists(path):
            yield Unreadable(os.fspath(path), f"{path}: URLs are not supported; download the photograph first")
            continue
        if not os.path.isdir(path):  # unlike Path.is_dir, it takes any name
            yield path
            continue
        unread: list[OSError] = []
        found = list_photos(path, unread.append)
        yield from found
        for error in unread:
            yield Unreadable(error.filename, f"{error.filename}: cannot be read: {error.strerror}")
        if not heic.is_installed() and (unknown := list_photos(path, lambda error: None, heic.SUFFIXES)):
            others = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
            yield Unreadable(os.fspath(unknown[0]), f"{unknown[0]}{others}: HEIC is not supported; {heic.remedy()}")
        elif not found and not unread:
            yield Unreadable(os.fspath(path), f"{path}: expected photographs in this folder, got none")


def photo_shard(photos: Iterable[Path | Unreadable], limit: int | None, shard: Shard) -> Iterator[Path | Unreadable]:
    """Select a shard of the photographs, or of the first `limit` of them; what is not a photograph is in every shard.

    Raises: UsageError if there are more shards than photographs.
    """
    listed = list(photos)
    paths = [one for one in listed if not isinstance(one, Unreadable)][:limit]
    yield from paths[shard.rows(len(paths))]
    yield from (one for one in listed if isinstance(one, Unreadable))


def caption_photos(
    captioner: Captioner,
    encoder: Encoder,
    photos: Iterable[Path | Unreadable],
    n_best: int = 1,
    limit: int | None = None,
    attention: bool = False,
) -> Iterator[Caption | Unreadable]:
    """Caption photographs, or the first `limit` of them, in order; one that cannot be read is skipped and reported.

    Paths that are not photographs are reported last. With `attention`, each caption has its attention weights.
    """
    threads = captioner.loaded.config.threads

    def readable() -> Iterator[Path]:
        for photo in photos:
            if isinstance(photo, Unreadable):
                failed.append(photo)
            else:
                yield photo

    failed: list[Unreadable] = []
    paths = islice(readable(), None if limit is None else min(limit, sys.maxsize))
    encoded = encode_photos(encoder, paths, threads, regions=captioner.loaded.meta.region_dim > 0)
    while some := list(islice(encoded, BATCH * threads)):
        found = caption_encoded(captioner, encoder, some, n_best, attention)
        for one in some:
            if one.features is None:
                yield Unreadable(os.fspath(one.path), str(one.problem))
            else:
                yield next(found).caption(os.fspath(one.path))
    yield from failed


def caption_encoded(
    captioner: Captioner, encoder: Encoder, photos: Sequence[Encoded], n_best: int = 1, attention: bool = False
) -> Iterator[Decoded]:
    """Caption the encoded photographs that have features, in order, in batches.

    Raises: as `Captioner.check_features` and `Captioner.decode`.
    """
    rows = [one.features for one in photos if one.features is not None]
    grids = [one.regions for one in photos if one.regions is not None]
    # A photograph is identified by its content: its samples depend on neither its name nor the order.
    digests = [int.from_bytes(one.digest[:8], "little") for one in photos if one.features is not None]
    if rows:
        features, regions = np.stack(rows), np.stack(grids) if grids else None
        captioner.check_features(features, encoder.identity, regions=regions)
        image_ids = np.array(digests, np.uint64)
        yield from captioner.decode(features, n_best, image_ids=image_ids, regions=regions, attention=attention)
