"""Features for a data set: encode the photographs, or read a feature file."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.config.options import ENCODER, PHOTO_SIDE, Prepare
from captioner.data.corpus import Features, check_region_values
from captioner.data.encoder_identity import parse_identity, without_file_name
from captioner.data.features import (
    MAX_ROUNDING_ERROR,
    MEMORY_MIB,
    memory_of,
    open_features,
    read_row_names,
    rounding_error,
)
from captioner.data.prepared import prepared
from captioner.errors import DataError, UsageError
from captioner.files.saved import DATA_SET
from captioner.files.user_files import sha256_of
from captioner.photos.recipes import open_encoder
from captioner.preparation.image_folders import ImageFolder, find_all, locate_photos
from captioner.preparation.splits import ImageRecord

if TYPE_CHECKING:
    from captioner.photos.encoders import Encoder

COMPARED = 16
"""The maximum number of photographs encoded to verify that a feature file is of the declared encoder."""
TOLERANCE = 1e-2
"""The maximum relative error between the features of a file and those of the encoder."""


class EncodingProgress(NamedTuple):
    """Progress: `done` of `total` photographs are encoded."""

    done: int
    total: int


class EncodingJob(NamedTuple):
    """Images to encode with their options, their folders, and the photographs that were left out."""

    images: Sequence[ImageRecord]
    options: Prepare
    folders: Sequence[ImageFolder]
    problems: list[DataError]

    def leave_out(self, error: DataError) -> DataError:
        """Record the error of a photograph without features, and return it."""
        self.problems.append(error)
        return error


class ImageFeatures(NamedTuple):
    """Features, the row of each image in them, their encoder, the number of missing images, their regions, and the
    largest shorter side of the photographs as `Meta.photo_side`.
    """

    features: Features
    rows: dict[str, int]
    encoder: str
    missing: int = 0
    regions: Features | None = None
    photo_side: int = 0


@contextmanager
def _temporary_file(output: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside the output. Raises: DataError when the features cannot be stored in it."""
    try:
        with tempfile.TemporaryFile(dir=output.parent) as file:
            yield file
    except OSError as error:
        raise DataError(f"{output}: cannot store features: {error.strerror or error}") from error


def read_features(job: EncodingJob, output: Path) -> Generator[DataError, None, ImageFeatures]:
    """Copy the features of the images from the feature files to a temporary file beside the output.

    Raises: DataError, also for features of several encoders; UsageError.
    """
    options, encoder, (first, *_) = job.options, None, job.options.features
    if options.encoder is not None:
        encoder = open_encoder(options.encoder)
        if options.regions and encoder.regions is None:
            raise UsageError(f"--regions: encoder {options.encoder} has no regions; omit --regions")
    parts: list[ImageFeatures] = []
    encoders = {} if encoder is None else {without_file_name(encoder.identity): f"--encoder {options.encoder}"}
    wanted = {record.image for record in job.images}
    for folder in job.folders:
        if folder.select(wanted):
            parts += _open_features(job, folder, encoder)
            encoders.setdefault(without_file_name(parts[-1].encoder), str(folder.features))
    if len(encoders) > 1:
        got = " and ".join(f"{identity} ({where})" for identity, where in encoders.items())
        raise DataError(f"--features: expected features of one encoder, got {got}; name that of arrays with --encoder")
    for array in (array for part in parts for array in (part.features, part.regions) if array is not None):
        if array.dtype == np.float64 and MAX_ROUNDING_ERROR < rounding_error(array, np.float32) < math.inf:
            raise DataError(
                f"{first}: expected features that differ in float32, got a column whose standard deviation is too "
                "small for its mean; subtract the mean of each column"
            )
    with _temporary_file(output) as file:
        grid = None if parts[0].regions is None else parts[0].regions.shape[1:]
        spool = Spool(file, parts[0].features.shape[1], grid)
        for part in parts:
            for image, row in part.rows.items():
                if image in wanted:
                    spool.add(image, part.features[row], None if part.regions is None else part.regions[row])
        if not spool.images:
            example = job.images[0].image
            raise DataError(f"{first}: expected features of {len(wanted):,} images, such as {example}, got none")
        features, regions = spool.rows()
    files = {image: folder.features for folder in job.folders for image in folder.images.values()}
    missing = [record.image for record in job.images if record.image not in spool.images]
    for image in missing:
        yield job.leave_out(DataError(f"{image}: not found in {files[image]}"))
    sides = [part.photo_side for part in parts]
    side = max(sides) if all(sides) else 0
    return ImageFeatures(features, spool.images, parts[0].encoder, len(missing), regions, side)


def _open_features(job: EncodingJob, folder: ImageFolder, encoder: Encoder | None) -> list[ImageFeatures]:
    """Open the feature file of a folder: a data set, with a part per split, or arrays, by `encoder` if it is known.

    A file that several folders share, and a data set of several, have the image names of the data set to write;
    others, those of the folder.
    Raises: DataError.
    """
    path, memory_mib, with_regions = folder.features, MEMORY_MIB // len(job.folders), job.options.regions
    assert path is not None
    is_joined = sum(os.path.realpath(f.features or "") == os.path.realpath(path) for f in job.folders) > 1
    if not DATA_SET.matches(path):
        return [_open_arrays(path, folder, memory_mib, with_regions, encoder, is_joined)]
    corpus = prepared(path, memory_mib=memory_mib, regions=with_regions)
    if with_regions and not corpus.region_dim:
        raise DataError(f"{path}: expected image regions, got none; omit --regions")
    is_joined |= isinstance(corpus.about.get("images"), list)
    return [
        ImageFeatures(
            split.features,
            _rows(folder, split.image_ids, is_joined),
            corpus.encoder,
            regions=split.regions,
            photo_side=corpus.photo_side,
        )
        for split in corpus.splits.values()
    ]


def _rows(folder: ImageFolder, names: Sequence[str], is_joined: bool) -> dict[str, int]:
    """Return the row of each image of a folder among the named rows of a feature file."""
    own = {image if is_joined else name: image for name, image in folder.images.items()}
    return {own[name]: row for row, name in enumerate(names) if name in own}


def _open_arrays(
    path: Path, folder: ImageFolder, memory_mib: int, with_regions: bool, encoder: Encoder | None, is_joined: bool
) -> ImageFeatures:
    """Open the arrays of a feature file, and compare them with the encoder if it is known. Raises: DataError."""
    features, regions = open_features(path, memory_mib=memory_mib), None
    names = read_row_names(path, features.shape[0])
    if with_regions:
        regions = open_features(path, "regions", max(0, memory_mib - memory_of(features)), ndim=4)
        check_region_values(regions, features, f"{path}: regions")
    rows = _rows(folder, names, is_joined)
    if encoder is None:
        return ImageFeatures(features, rows, f"features:{path.name},sha256={sha256_of(path)}", regions=regions)
    per_image = f"per image for {encoder.identity}"
    if features.shape[1] != encoder.width:
        raise DataError(f"{path}: expected {encoder.width} features {per_image}, got {features.shape[1]}")
    if regions is not None and regions.shape[1:] != encoder.regions:
        raise DataError(f"{path}: expected regions {encoder.regions} {per_image}, got {regions.shape[1:]}")
    side = photo_side_of(encoder)
    stored = ImageFeatures(features, rows, encoder.identity, regions=regions, photo_side=side)
    _compare(encoder, stored, folder)
    return stored


def _compare(encoder: Encoder, stored: ImageFeatures, folder: ImageFolder) -> None:
    """Compare stored features and regions, of photographs that are found, with those of the encoder.

    Raises: DataError when they differ: they are of another encoder, or of other images.
    """
    from captioner.photos.encoders import encode_photos  # needs Pillow; open_encoder reports a missing one

    found = find_all(folder.path, list(folder.images), folder.names)
    rows = {path: stored.rows.get(folder.images[name]) for name, path in found.items() if path}
    photos = {path: row for path, row in rows.items() if row is not None}
    sample = list(photos)[:: 1 + len(photos) // COMPARED]
    for encoded in encode_photos(encoder, sample, regions=stored.regions is not None, photo_side=stored.photo_side):
        if isinstance(encoded, DataError):
            continue
        for what, values in (("features", stored.features), ("regions", stored.regions)):
            if values is None:
                continue
            computed = getattr(encoded, what)
            difference = np.linalg.norm(values[photos[encoded.path]].astype(np.float64) - computed)
            if difference > TOLERANCE * np.linalg.norm(computed):
                raise DataError(
                    f"{folder.features}: expected the {what} of {encoder.identity}, got others for "
                    f"{encoded.path.name}; correct the names in `images`, or set the encoder of the file with --encoder"
                )


def photo_side_of(encoder: Encoder) -> int:
    """Return the `photo_side` of the default model for its encoder, and 0 for others."""
    recipe = parse_identity(encoder.identity)
    return PHOTO_SIDE if recipe and recipe.name == ENCODER else 0


def encode_images(job: EncodingJob, output: Path) -> Generator[EncodingProgress | DataError, None, ImageFeatures]:
    """Encode the photographs; the features are in a temporary file beside the output."""
    regions = job.options.regions
    recipe = job.options.encoder or ENCODER
    encoder = open_encoder(recipe)
    from captioner.photos.encoders import encode_photos  # needs Pillow; open_encoder reports a missing one

    if regions and encoder.regions is None:
        raise UsageError(f"--regions: encoder {recipe} has no regions; use {ENCODER}, or omit --regions")
    images, photos, missing = {record.image for record in job.images}, dict[str, Path](), 0
    for folder in job.folders:
        found, errors = locate_photos(folder, images)
        photos, missing = photos | found, missing + len(errors)
        yield from map(job.leave_out, errors.values())
    side, largest = photo_side_of(encoder), 0
    encodings = encode_photos(encoder, photos.values(), job.options.threads, regions, side)
    with _temporary_file(output) as file, closing(encodings):
        spool = Spool(file, encoder.width, encoder.regions if regions else None)
        for done, (name, encoded) in enumerate(zip(photos, encodings, strict=True), 1):
            if isinstance(encoded, DataError):
                yield job.leave_out(encoded)
            else:
                spool.add(name, encoded.features, encoded.regions)
                largest = max(largest, encoded.side)
            yield EncodingProgress(done, len(photos))
        if not spool.images:
            raise DataError(f"{job.folders[0].path}: expected photographs, got no readable one")
        features, grids = spool.rows()
    return ImageFeatures(features, spool.images, encoder.identity, missing, grids, largest)


class Spool:
    """Rows of features, and of regions if `regions` is the shape of an image's, in an empty open file, in float32."""

    def __init__(self, file: BinaryIO, width: int, regions: tuple[int, ...] | None) -> None:
        shapes = {"features": (width,), **({"regions": regions} if regions else {})}
        self._names = list(shapes)
        self._row = np.dtype([(name, np.float32, shape) for name, shape in shapes.items()])
        self._file, self._count = file, 0
        self.images: dict[str, int] = {}
        """The row of each image."""

    def add(self, image: str, features: Array, regions: Array | None = None) -> None:
        """Append the row of an image. Raises: DataError if a number is not finite in float32; OSError."""
        row = np.zeros((), self._row)
        for name, values in zip(self._names, (features, regions), strict=False):
            with np.errstate(over="ignore"):
                row[name] = values
            if not np.isfinite(row[name]).all():
                largest = np.abs(np.asarray(values)).max()
                raise DataError(f"{image}: {name}: expected numbers in the range of float32, got {largest:g}")
        self._file.write(row.tobytes())
        self.images[image] = self._count
        self._count += 1

    def rows(self) -> tuple[Array, Array | None]:
        """Memory-map the features, and the regions if there are any; the file may be closed afterwards.

        Shapes: features (images, F), regions (images, rows, columns, R).
        """
        self._file.flush()
        rows = np.memmap(self._file, self._row, "r", shape=(self._count,))
        return rows["features"], rows["regions"] if "regions" in self._names else None
