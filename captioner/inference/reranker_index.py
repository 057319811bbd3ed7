"""The file of a re-ranking index: the training images and references that consensus re-ranking needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import MAX_FEATURE
from captioner.decode import Reranker
from captioner.decode.consensus import normalize_rows
from captioner.errors import CheckpointError
from captioner.model.image_input import Standardizer
from captioner.storage.sealed import Seal
from captioner.storage.sealed_arrays import read, write

T = TypeVar("T")
SEAL = Seal(
    "re-ranking index",
    version=2,
    writer="`captioner train`",
    max_bytes=8 << 30,
    error=CheckpointError,
    remedy="`captioner train --resume RUN` writes it again",
    dtype_kinds="fi",
)
"""A change of the kernel's constants in `decode.consensus` needs a new version: the inverse depends on them."""
MAX_IMAGES = 8192
"""Training images in an index; a larger training split is sampled evenly. Memory grows with the square of this number,
time of the matrix inversion with its cube."""
SHAPES = {"directions": 2, "inverse": 1, "words": 1, "lengths": 1, "counts": 1, "mean": 1, "std": 1}
TYPES = {"directions": "float16", "inverse": "float16", "words": "int32", "lengths": "int32", "counts": "int32"}
BLOCK = 128
RANGES = {
    "counts": (1, np.inf),
    "lengths": (1, np.inf),
    "words": (-1, np.inf),
    "mean": (-2 * MAX_FEATURE, 2 * MAX_FEATURE),
    "std": (1e-100, 2 * MAX_FEATURE),
}


@dataclass(frozen=True)
class Origin:
    """The origin of an index: digests of the training split and the vocabulary, and the encoder of the features."""

    train: str
    vocabulary: str
    encoder: str


@dataclass(frozen=True)
class Index:
    """Training images with their reference captions, in the precision of the file.

    An index that is built from a data set has the same precision, so it ranks captions exactly like the file.

    Shapes of the arrays: `directions` (n, F) float16, `inverse` (n (n + 1) / 2,) float16, the upper triangle row by
    row; `words` (W,) int32, the ids of all captions, -1 for a word outside the vocabulary; `lengths` (C,) int32, the
    words of each caption; `counts` (n,) int32, the captions of each image; `mean` and `std` (F,) float64.
    """

    origin: Origin
    arrays: dict[str, Array]

    def reranker(self) -> Reranker:
        a = self.arrays
        captions = _split(a["words"].tolist(), a["lengths"])
        return Reranker(
            normalize_rows(a["directions"].astype(np.float32)),
            unfold(a["inverse"], len(a["counts"])),
            _split(captions, a["counts"]),
            Standardizer(a["mean"], a["std"]),
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


def save(path: Path, index: Index, check: Callable[[], None] = lambda: None) -> None:
    """Write an index atomically; `check` is called as in `atomic.replacing`.

    Raises: CheckpointError when the file cannot be written; the previous file is kept.
    """
    write(SEAL, path, index.arrays, asdict(index.origin), check)


def load(path: Path) -> Index:
    """Read an index.

    Raises: CheckpointError when the file is damaged or not an index.
    """
    return read(SEAL, path, _parse)


def _parse(arrays: dict[str, Array], meta: str) -> Index:
    """Raises: ValueError for arrays whose shapes or values do not fit together."""
    origin = json.loads(meta)
    if not isinstance(origin, dict) or not all(isinstance(text, str) for text in origin.values()):
        raise ValueError("meta: expected texts")
    if arrays.keys() != SHAPES.keys():
        raise ValueError(f"expected the arrays {', '.join(SHAPES)}, got {', '.join(arrays)}")
    for name, array in arrays.items():
        if array.ndim != SHAPES[name] or array.dtype != TYPES.get(name, "float64"):
            raise ValueError(f"{name}: unexpected {array.dtype} {array.shape}")
    n, width = arrays["directions"].shape
    sizes = {"inverse": n * (n + 1) // 2, "counts": n, "mean": width, "std": width}
    sizes |= {"lengths": int(arrays["counts"].sum()), "words": int(arrays["lengths"].sum())}
    if other := [name for name, size in sizes.items() if len(arrays[name]) != size]:
        raise ValueError(f"{other[0]}: expected {sizes[other[0]]} numbers, got {len(arrays[other[0]])}")
    if not 0 < n <= MAX_IMAGES or not width:
        raise ValueError(f"directions: expected 1 to {MAX_IMAGES} images with features, got {n} with {width}")
    for name, (low, high) in RANGES.items():
        if not low <= arrays[name].min() <= arrays[name].max() <= high:
            raise ValueError(f"{name}: expected numbers from {low:g} to {high:g}")
    return Index(Origin(**origin), arrays)


def _split(items: Sequence[T], sizes: Array) -> list[Sequence[T]]:
    bounds = np.append(0, np.cumsum(sizes)).tolist()
    return [items[first:last] for first, last in pairwise(bounds)]
