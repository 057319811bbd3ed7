"""The re-ranking index: build, check and store the training images and references for consensus re-ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from captioner.arrays import Array, evenly_spaced, normalize_rows
from captioner.captioning.checks import is_training_split
from captioner.captioning.restore import LoadedModel
from captioner.data.corpus import MAX_FEATURE, Corpus, Split
from captioner.data.features import standardization
from captioner.decode import Reranker
from captioner.decode.consensus import Kernel, choose_kernel, inverse_kernel, unit_features
from captioner.errors import CheckpointError
from captioner.files.header import RERANKING_INDEX
from captioner.files.saved import open_saved, write
from captioner.images.recipe import same_encoder
from captioner.model.image_input import Standardizer

T = TypeVar("T")
MAX_IMAGES = 12288
"""Training images in an index; a larger training split is sampled evenly. Memory grows with the square of this number,
time of the matrix inversion with its cube."""
BLOCK = 128
ARRAYS = {
    "directions": ("float16", -np.inf, np.inf),
    "inverse": ("float16", -np.inf, np.inf),
    "words": ("int32", -1, np.inf),
    "lengths": ("int32", 1, np.inf),
    "counts": ("int32", 1, np.inf),
    "kernel": ("float64", 1e-3, 1e3),
    "mean": ("float64", -2 * MAX_FEATURE, 2 * MAX_FEATURE),
    "std": ("float64", 1e-100, 2 * MAX_FEATURE),
}
"""The type and the bounds of each array."""


@dataclass(frozen=True)
class Index:
    """Training images with their reference captions, in the precision of the file.

    An index that is built from a data set has the same precision, so it ranks captions exactly like the file.
    `train_digest` is that of the data set, and `encoder` the identity of its encoder.

    Shapes of the arrays: `directions` (n, F) float16, `inverse` (n (n + 1) / 2,) float16, the upper triangle row by
    row; `words` (W,) int32, the ids of all captions, -1 for a word outside the vocabulary; `lengths` (C,) int32, the
    words of each caption; `counts` (n,) int32, the captions of each image; `kernel` (2,) float64, γ and λ; `mean` and
    `std` (F,) float64.
    """

    train_digest: str
    encoder: str
    arrays: dict[str, Array]

    def reranker(self) -> Reranker:
        a = self.arrays
        captions = _split(a["words"].tolist(), a["lengths"])
        return Reranker(
            normalize_rows(a["directions"].astype(np.float32)),
            unfold(a["inverse"], len(a["counts"])),
            _split(captions, a["counts"]),
            Standardizer(a["mean"], a["std"]),
            Kernel(*a["kernel"].tolist()),
        )


def fold(matrix: Array) -> Array:
    """Flatten the upper triangle of a symmetric matrix, row by row.

    Shapes: (n, n) -> (n (n + 1) / 2,) float16.
    """
    half = matrix.astype(np.float16)
    return np.concatenate([row[place:] for place, row in enumerate(half)])


def unfold(triangle: Array, n: int) -> Array:
    """Rebuild a symmetric matrix from its upper triangle.

    Shapes: (n (n + 1) / 2,) -> (n, n) float32.
    """
    matrix, first = np.zeros((n, n), np.float32), 0
    for row in range(n):
        matrix[row, row:] = triangle[first : first + n - row]
        first += n - row
    for left in range(0, n, BLOCK):  # block by block: mirroring the whole matrix at once takes four times as long
        block = slice(left, left + BLOCK)
        matrix[block, block] += np.triu(matrix[block, block], 1).T
        matrix[left + BLOCK :, block] = matrix[block, left + BLOCK :].T
    return matrix


def write_index(path: Path, index: Index) -> None:
    """Write an index atomically. Raises: CheckpointError when it cannot be written; the previous file is kept."""
    write(RERANKING_INDEX, path, index.arrays, {"train_digest": index.train_digest, "encoder": index.encoder})


def read_index(path: Path) -> Index:
    """Read an index. Raises: CheckpointError when the file is damaged or not an index."""
    with open_saved(RERANKING_INDEX, path) as saved:
        return _parse({name: saved.read(name, "fiu") for name in saved}, saved.meta)


def _parse(arrays: dict[str, Array], meta: Mapping[str, Any]) -> Index:
    """Raises: ValueError for arrays whose shapes or values do not fit together."""
    match meta:
        case {"train_digest": str(train_digest), "encoder": str(encoder)}:
            pass
        case _:
            raise ValueError("meta: expected train_digest and encoder")
    if arrays.keys() != ARRAYS.keys():
        raise ValueError(f"expected the arrays {', '.join(ARRAYS)}, got {', '.join(arrays)}")
    n, width = arrays["directions"].shape
    if not 0 < n <= MAX_IMAGES or not width:
        raise ValueError(f"directions: expected 1 to {MAX_IMAGES} images with features, got {n} with {width}")
    captions, words = (int(arrays[name].sum()) for name in ("counts", "lengths"))
    shapes: dict[str, tuple[int, ...]] = {
        "directions": (n, width), "inverse": (n * (n + 1) // 2,), "words": (words,), "lengths": (captions,),
        "counts": (n,), "kernel": (2,), "mean": (width,), "std": (width,),
    }  # fmt: skip
    for name, (dtype, low, high) in ARRAYS.items():
        array, shape = arrays[name], shapes[name]
        if array.dtype != dtype or array.shape != shape:
            raise ValueError(f"{name}: expected {dtype} {shape}, got {array.dtype} {array.shape}")
        if not low <= array.min() <= array.max() <= high:
            raise ValueError(f"{name}: expected numbers from {low:g} to {high:g}")
    return Index(train_digest, encoder, arrays)


def _split(items: Sequence[T], sizes: Array) -> list[Sequence[T]]:
    bounds = np.append(0, np.cumsum(sizes)).tolist()
    return [items[first:last] for first, last in pairwise(bounds)]


def build_index(corpus: Corpus) -> Index:
    """Build the index of a data set. Raises: DataError when the data set has no training split."""
    train = corpus.split("train")
    images, references = train.reference_ids(corpus.vocab)
    indexed = evenly_spaced(len(images), MAX_IMAGES)
    features = train.features[images[indexed]]
    standardizer = Standardizer(*standardization(features))
    directions = unit_features(features, standardizer).astype(np.float16)
    captions = [references[image] for image in indexed.tolist()]
    rounded = normalize_rows(directions.astype(np.float32))
    kernel = choose_kernel(rounded, captions)
    flat = list(chain.from_iterable(captions))
    arrays = {
        "directions": directions,
        "inverse": fold(inverse_kernel(rounded, kernel)),
        "words": np.array(list(chain.from_iterable(flat)), np.int32),
        "lengths": np.array(list(map(len, flat)), np.int32),
        "counts": np.array(list(map(len, captions)), np.int32),
        "kernel": np.array(kernel),
        **standardizer._asdict(),
    }
    return Index(corpus.train_digest, corpus.encoder, arrays)


def index_rows(train: Split) -> Array:
    """Return the row of each image of a training split in its index, or -1 for an image that is not in it.

    Shapes: -> (M,).
    """
    rows = np.full(train.features.shape[0], -1)
    indexed = train.captioned_images[evenly_spaced(len(train.captioned_images), MAX_IMAGES)]
    rows[indexed] = np.arange(len(indexed))
    return rows


def own_index_rows(loaded: LoadedModel, corpus: Corpus, name: str) -> Array | None:
    """Return the `index_rows` of a split of a data set if it is the training split of a model.

    Then re-ranking leaves out exactly the entry of each image. Of other splits, it recognizes images by their features.
    """
    return index_rows(corpus.split(name)) if name == "train" and is_training_split(loaded, corpus) else None


def current_index(path: Path, corpus: Corpus) -> Index | None:
    """Read the index of a data set; None if the file is missing, damaged or that of another data set."""
    try:
        index = read_index(path)
    except CheckpointError:
        return None
    return index if (index.train_digest, index.encoder) == (corpus.train_digest, corpus.encoder) else None


def find_or_build_index(corpus: Corpus, files: Iterable[Path]) -> Index:
    """Return the index of a data set: that of the first file that is current, or else a new one."""
    return next(filter(None, (current_index(file, corpus) for file in files)), None) or build_index(corpus)


def check_index(path: Path, index: Index, loaded: LoadedModel) -> Index:
    """Check that an index belongs to a model, and return it.

    Raises: CheckpointError when it was built from another training split or encoder.
    """
    expected = {
        "encoder": same_encoder(index.encoder, loaded.meta.encoder),
        "feature width": index.arrays["directions"].shape[1] == loaded.meta.feature_dim,
        "training split": index.train_digest == loaded.meta.train_digest,
    }
    for what, is_same in expected.items():
        if not is_same:
            raise CheckpointError(
                f"{path}: expected the {what} of {loaded.path}, got that of another run; delete the file"
            )
    return index
