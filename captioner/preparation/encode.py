"""Features for a data set: encode the photographs, or read a feature file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import captioner
from captioner.config.options import ENCODER, Prepare
from captioner.data.corpus import Features, check_region_values
from captioner.data.features import MEMORY_MIB, memory_of, open_features
from captioner.errors import DataError, UsageError
from captioner.files.user_files import regular_file
from captioner.images import open_encoder
from captioner.images.recipe import without_file_name
from captioner.parallel.ranks import SINGLE_PROCESS, Ranks, check_same
from captioner.preparation.find_photos import find_all, locate_photos
from captioner.preparation.image_records import FeatureRows, ImageRecord

if TYPE_CHECKING:
    from captioner.images.encoders import Encoded, Encoder


from typing import BinaryIO

from captioner.arrays import Array

COMPARED = 16
"""The number of photographs encoded to verify that a feature file comes from the given encoder."""
BLOCK = 16
"""The number of photographs per thread that a rank encodes before rank 0 stores their features."""
TOLERANCE = 1e-2
"""The maximum relative error between the features of a file and those of the encoder."""


class EncodingProgress(NamedTuple):
    """Progress: `done` of `total` photographs are encoded."""

    done: int
    total: int


class EncodingJob(NamedTuple):
    """Images to encode with their options, the photographs that were left out, and all images of the caption files."""

    images: Sequence[ImageRecord]
    options: Prepare
    encoder_options: Mapping[str, str]
    folder: Path
    problems: list[DataError]
    rows: FeatureRows

    def leave_out(self, error: DataError) -> DataError:
        """Record the error of a photograph without features, and return it."""
        self.problems.append(error)
        return error


class ImageFeatures(NamedTuple):
    """Features, the row of each image in them, their encoder, the dtype to store, the number of missing images, and
    regions with the rows of the features.
    """

    features: Features
    rows: dict[str, int]
    encoder: str
    dtype: np.dtype[Any]
    missing: int
    regions: Features | None = None


def read_features(job: EncodingJob, path: Path) -> ImageFeatures:
    """Use the rows of a feature file. Raises: DataError, also unless it has one row per image; UsageError."""
    if job.encoder_options and job.options.encoder is None:
        raise UsageError(f"{path}: --encoder-option needs an encoder; name that of the features with --encoder")
    features, regions = open_features(path), None
    job.rows.check(features.shape[0], path)
    if job.options.regions:
        regions = open_features(path, "regions", max(0, MEMORY_MIB - memory_of(features)), ndim=4)
        check_region_values(regions, features, f"{path}: regions")
    rows = {record.image: job.rows.by_image[record.image] for record in job.images}
    identity = f"features:{path.name},sha256={sha256_of(path)}"
    stored = ImageFeatures(features, rows, identity, np.dtype(job.options.dtype), 0, regions)
    if job.options.encoder is None:
        return stored
    encoder = open_encoder(job.options.encoder, job.encoder_options)
    if job.options.regions and encoder.regions is None:
        raise UsageError(f"--regions: encoder {job.options.encoder} has no regions; omit --regions")
    _compare(encoder, stored, job, path)
    return stored._replace(encoder=encoder.identity)


def encode_images(
    job: EncodingJob, output: Path, ranks: Ranks = SINGLE_PROCESS
) -> Generator[EncodingProgress | DataError, None, ImageFeatures]:
    """Encode the photographs; the features are in a temporary file beside the output.

    The other ranks encode their share in `encode_share`.
    """
    recipe, regions = job.options.encoder or ENCODER, job.options.regions
    encoder = open_encoder(recipe, job.encoder_options)
    if regions and encoder.regions is None:
        raise UsageError(f"--regions: encoder {recipe} has no regions; use {ENCODER}, or omit --regions")
    photos, missing = locate_photos(job.folder, [record.image for record in job.images], job.rows.by_image)
    for error in missing.values():
        yield job.leave_out(error)
    dtype = np.dtype(job.options.dtype)
    rows: dict[str, int] = {}
    try:
        ranks.from_rank_0(None)
        with (
            tempfile.TemporaryFile(dir=output.parent) as file,
            closing(_share(ranks, encoder, job.options, list(photos.values()))) as encodings,
        ):
            spool = Spool(file, encoder.width, dtype, encoder.regions if regions else None)
            for done, (name, encoded) in enumerate(zip(photos, encodings, strict=True), 1):
                if isinstance(encoded, DataError):
                    yield job.leave_out(encoded)
                else:
                    rows[name] = spool.add(encoded.features, encoded.regions)
                yield EncodingProgress(done, len(photos))
            if not rows:
                raise DataError(f"{job.folder}: expected photographs, got no readable one")
            features, grids = spool.rows()
    except OSError as error:
        raise DataError(f"{output}: cannot store features: {error.strerror or error}") from error
    return ImageFeatures(features, rows, encoder.identity, dtype, len(missing), grids)


def encode_share(options: Prepare, encoder_options: Mapping[str, str], ranks: Ranks) -> None:
    """Encode the share of a rank other than 0, which stores the features.

    Raises: OtherRankError, if rank 0 fails, also if it fails before it has photographs to encode.
    """
    ranks.from_rank_0(None)
    for _ in _share(ranks, open_encoder(options.encoder or ENCODER, encoder_options), options):
        raise AssertionError("rank 0 alone has the features")


def _share(
    ranks: Ranks, encoder: Encoder, options: Prepare, paths: Sequence[Path] = ()
) -> Generator[Encoded | DataError, None, None]:
    """Encode photographs of rank 0 on all ranks, as `encode_photos`. Raises: UsageError, if the ranks differ."""
    from captioner.images.encoders import encode_photos  # needs Pillow; open_encoder reports a missing one

    identity = without_file_name(encoder.identity)
    check_same(ranks, {"encoder": identity, "regions": options.regions, "version": captioner.__version__})

    def encode(batch: Iterable[Path]) -> Generator[Encoded | DataError, None, None]:
        return encode_photos(encoder, batch, options.threads, options.regions)

    yield from ranks.share(encode, paths, BLOCK * options.threads)


def _compare(encoder: Encoder, stored: ImageFeatures, job: EncodingJob, path: Path) -> None:
    """Compare a sample of stored features and regions with the encoder's. Raises: DataError when they differ."""
    from captioner.images.encoders import encode_photos

    features, regions, per_image = stored.features, stored.regions, f"per image for {encoder.identity}"
    if features.shape[1] != encoder.width:
        raise DataError(f"{path}: expected {encoder.width} features {per_image}, got {features.shape[1]}")
    if regions is not None and regions.shape[1:] != encoder.regions:
        raise DataError(f"{path}: expected regions {encoder.regions} {per_image}, got {regions.shape[1:]}")
    photos = find_all(job.folder, list(stored.rows), job.rows.by_image)
    names = dict(islice(((path, name) for name, path in photos.items() if path), COMPARED))
    for encoded in encode_photos(encoder, names, regions=regions is not None):
        if isinstance(encoded, DataError):
            continue
        row = stored.rows[names[encoded.path]]
        for what, values, computed in (("features", features, encoded.features), ("regions", regions, encoded.regions)):
            if values is None or computed is None:
                continue
            expected = values[row].astype(np.float64)
            error = float(np.linalg.norm(expected - computed)) / max(float(np.linalg.norm(computed)), 1e-30)
            if error > TOLERANCE:
                raise DataError(
                    f"{path}: expected the {what} of {encoder.identity}, got a relative error of {error:.1%} for "
                    f"{encoded.path.name}; name the encoder of the features with --encoder"
                )


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file. Raises: DataError when it cannot be read."""
    with regular_file(path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Spool:
    """Rows of features, and of regions if `regions` is the shape of an image's, in an empty open file."""

    def __init__(
        self, file: BinaryIO, width: int, dtype: np.dtype[np.floating], regions: tuple[int, ...] | None
    ) -> None:
        shapes = {"features": (width,), **({"regions": regions} if regions else {})}
        self._names = list(shapes)
        self._row = np.dtype([(name, dtype, shape) for name, shape in shapes.items()])
        self._file, self._dtype, self._count = file, dtype, 0

    def add(self, features: Array, regions: Array | None = None) -> int:
        """Append a row and return its number.

        Raises: DataError if a number is not finite in the stored type; OSError.
        """
        row = np.zeros((), self._row)
        for name, values in zip(self._names, (features, regions), strict=False):
            with np.errstate(over="ignore"):
                row[name] = values
            if not np.isfinite(row[name]).all():
                largest = np.abs(np.asarray(values)).max()
                raise DataError(f"{name}: expected numbers in the range of {self._dtype}, got {largest:g}; try float32")
        self._file.write(row.tobytes())
        self._count += 1
        return self._count - 1

    def rows(self) -> tuple[Array, Array | None]:
        """Memory-map the features, and the regions if there are any; the file may be closed afterwards.

        Shapes: features (images, F), regions (images, rows, columns, R).
        """
        self._file.flush()
        rows = np.memmap(self._file, self._row, "r", shape=(self._count,))
        return rows["features"], rows["regions"] if "regions" in self._names else None
