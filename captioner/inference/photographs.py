"""The photographs to caption, and the encoder of the training images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from captioner.errors import CheckpointError, DataError, UsageError
from captioner.images import open_parts
from captioner.images.encoders import Encoder
from captioner.images.photo import (
    CONVERTIBLE,
    HEIC_SUFFIXES,
    RAW_SUFFIXES,
    SUFFIXES,
    can_read_heic,
    heic_remedy,
    list_photos,
)
from captioner.images.recipe import Part, parse_identity, parse_recipe, same_encoder, with_options
from captioner.inference.restore import LoadedModel, check_regions, check_width
from captioner.preparation.find_photos import is_url


def open_encoder_of(
    loaded: LoadedModel, recipe: str | None = None, options: Mapping[str, str] | None = None
) -> Encoder:
    """Open the encoder of the training images.

    `recipe` replaces that of the checkpoint: with the paths of ONNX files, or for features of an
    encoder that the checkpoint does not identify. If its encoders have the names of those in the checkpoint, they keep
    the checkpoint's options. `options` are added.

    Raises: CheckpointError for another encoder, UsageError when the encoder is not found.
    """
    where, identity = loaded.path, loaded.meta.encoder
    known = parse_identity(identity)
    if known is None and recipe is None:
        raise UsageError(f"{where}: was trained on features of {identity}, which is not a known encoder; try --encoder")
    chosen = _find_files(known or [], loaded) if recipe is None else parse_recipe(recipe)
    if known is not None and [part.name for part in chosen] == [part.name for part in known]:
        pairs = zip(chosen, known, strict=True)
        chosen = [part._replace(options={**same.options, **part.options}) for part, same in pairs]
    encoder = open_parts(with_options(chosen, options or {}))
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
    located = []
    for part in parts:
        path = next((path for folder in folders if (path := folder / part.file).is_file()), None)
        if part.file and path is None:
            recipe = "+".join(f"{each.name}:FILE" if each.file else each.name for each in parts)
            raise UsageError(f"{loaded.path}: encoder {part.label} not found; try --encoder {recipe}")
        located.append(part if path is None else part._replace(file=str(path)))
    return located


def photo_warning(loaded: LoadedModel) -> str | None:
    """Return a warning if photographs are given to a model of generated scenes."""
    if loaded.config.data.source != "scenes":
        return None
    return (
        f"{loaded.path} was trained on generated scenes of coloured shapes, so its captions do not describe "
        "photographs; train on photographs with captions: captioner prepare --help"
    )


def photo_paths(names: Iterable[str | os.PathLike[str]]) -> Iterator[Path | DataError]:
    """List photographs: files by name, folders by their photographs in order, and errors of names without any."""
    for path in map(Path, names):
        if is_url(path) and not os.path.lexists(path):
            yield DataError(f"{path}: URLs are not supported; download the photograph first")
            continue
        if not os.path.isdir(path):  # unlike Path.is_dir, it takes any name
            yield path
            continue
        unread: list[OSError] = []
        heic = {} if can_read_heic() else {f"HEIC is not supported; {heic_remedy()}": HEIC_SUFFIXES}
        unreadable = heic | CONVERTIBLE
        problems = {suffix: problem for problem, suffixes in unreadable.items() for suffix in suffixes}
        photos: list[Path] = []
        others: dict[str, list[Path]] = {problem: [] for problem in unreadable}
        for file in list_photos(path, unread.append, SUFFIXES | HEIC_SUFFIXES | problems.keys()):
            problem = problems.get(file.suffix.lower())
            (photos if problem is None else others[problem]).append(file)
        yield from photos
        for error in unread:
            yield DataError(f"{error.filename}: cannot be read: {error.strerror}")
        stems = {photo.with_suffix("") for photo in photos}
        for problem, files in others.items():
            if unreadable[problem] is RAW_SUFFIXES:  # a camera stores a raw file beside its JPEG
                files = [file for file in files if file.with_suffix("") not in stems]
            if files:
                more = f" and {len(files) - 1:,} more" if len(files) > 1 else ""
                yield DataError(f"{files[0]}{more}: {problem}")
        if not photos and not unread and not any(others.values()):
            yield DataError(f"{path}: expected photographs in this folder, got none")
