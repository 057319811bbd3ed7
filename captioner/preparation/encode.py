"""The features of photographs for a data set: encoded here, or taken from a file of somebody who has done it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from captioner.config.options import ENCODER, Prepare
from captioner.data.corpus import Features
from captioner.data.features import open_features
from captioner.data.splits import ImageRecord
from captioner.errors import DataError, UsageError
from captioner.preparation.find_photos import Unreadable, find_all, located
from captioner.storage.files import regular_file
from captioner.storage.hdf5 import FILE_LIMIT

if TYPE_CHECKING:
    from captioner.images.encoder import Encoder

COMPARED = 16
"""Photographs that are encoded to see whether given features are those of the encoder that they are said to be of."""
TOLERANCE = 1e-2


class Encoding(NamedTuple):
    """`done` of `total` photographs are encoded, `before` of them by an earlier run."""

    done: int
    total: int
    before: int


class Discarded(NamedTuple):
    """What an interrupted run had encoded, by another encoder or in another precision, is thrown away."""

    store: Path

    def __str__(self) -> str:
        return f"{self.store}: another encoder or precision made what was encoded before; all is encoded anew"


class Work(NamedTuple):
    """What features are wanted for, and those photographs that have none."""

    images: Sequence[ImageRecord]
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


def sha256_of(path: Path) -> str:
    """Raises: DataError when the file cannot be read."""
    with regular_file(path, FILE_LIMIT) as descriptor, open(descriptor, "rb", closefd=False) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
