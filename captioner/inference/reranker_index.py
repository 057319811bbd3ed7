"""The re-ranking index of a run: what consensus re-ranking needs of the training images, in one sealed file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from captioner.arrays import Array
from captioner.data.corpus import LARGEST, Corpus
from captioner.data.features import standardization
from captioner.decode import Reranker
from captioner.decode.consensus import inverse_kernel, normalize_rows, unit_features
from captioner.errors import CheckpointError
from captioner.images import are_same
from captioner.inference.restore import Speaker
from captioner.model.standardizer import Standardizer
from captioner.storage.sealed import Seal
from captioner.storage.sealed_arrays import read, write
from captioner.text.vocabulary import Vocab

T = TypeVar("T")
SEAL = Seal(
    "re-ranking index",
    version=1,
    maker="`captioner train`",
    most=8 << 30,
    error=CheckpointError,
    remedy="`captioner train --resume RUN` writes it again",
)
"""The version stands for the constants of `decode.consensus` too: the inverse depends on them."""
MOST = 8192
"""Training images that an index has; of more, so many evenly. The kernel takes their square in memory, a few times
256 MiB for these, and its inversion their cube in time."""
SHAPES = {"directions": 2, "inverse": 1, "words": 1, "lengths": 1, "counts": 1, "mean": 1, "std": 1}
TYPES = {"directions": "float16", "inverse": "float16", "words": "int32", "lengths": "int32", "counts": "int32"}
BLOCK = 128
RANGES = {
    "counts": (1, np.inf),
    "lengths": (1, np.inf),
    "words": (-1, np.inf),
    "mean": (-2 * LARGEST, 2 * LARGEST),
    "std": (1e-100, 2 * LARGEST),
}


@dataclass(frozen=True)
class Origin:
    """What an index was made of: digests of the training split and the vocabulary, and the encoder of the features."""

    train: str
    vocabulary: str
    encoder: str


@dataclass(frozen=True)
class Index:
    """Training images with their reference captions, in the precision of the file.

    One that was just made of a data set is rounded too, so that it ranks captions exactly as the file will.

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


def build_index(corpus: Corpus) -> Index:
    """The index of a data set.

    Raises: DataError when it has no training split.
    """
    train = corpus.split("train")
    images, references = train.reference_ids(corpus.vocab)
    some = np.unique(np.linspace(0, len(images) - 1, min(MOST, len(images))).astype(int))
    features = train.features[images[some]]
    standardizer = Standardizer(*standardization(features))
    directions = unit_features(features, standardizer).astype(np.float16)
    captions = [references[image] for image in some.tolist()]
    flat = list(chain.from_iterable(captions))
    arrays = {
        "directions": directions,
        "inverse": fold(inverse_kernel(normalize_rows(directions.astype(np.float32)))),
        "words": np.array(list(chain.from_iterable(flat)), np.int32),
        "lengths": np.array(list(map(len, flat)), np.int32),
        "counts": np.array(list(map(len, captions)), np.int32),
        **standardizer._asdict(),
    }
    return Index(_origin(corpus), arrays)


def _origin(corpus: Corpus) -> Origin:
    return Origin(corpus.fingerprint(["train"]), _digest(corpus.vocab), corpus.encoder)


def fold(matrix: Array) -> Array:
    """The upper triangle of a symmetric matrix, row by row.

    Shapes: (n, n) -> (n (n + 1) / 2,) float16.
    """
    half = matrix.astype(np.float16)
    return np.concatenate([row[place:] for place, row in enumerate(half)])


def unfold(triangle: Array, n: int) -> Array:
    """The symmetric matrix of which this is the upper triangle.

    Shapes: (n (n + 1) / 2,) -> (n, n) float32.
    """
    matrix, first = np.zeros((n, n), np.float32), 0
    for row in range(n):
        matrix[row, row:] = triangle[first : first + n - row]
        first += n - row
    for left in range(0, n, BLOCK):  # a mirror image of the whole at once takes four times as long
        block = slice(left, left + BLOCK)
        matrix[block, block] += np.triu(matrix[block, block], 1).T
        matrix[left + BLOCK :, block] = matrix[block, left + BLOCK :].T
    return matrix


def save(path: Path, index: Index, check: Callable[[], None] = lambda: None) -> None:
    """Write an index; `check` is called as in `atomic.replacing`.

    Raises: CheckpointError when the file cannot be written, with the old one whole.
    """
    write(SEAL, path, index.arrays, asdict(index.origin), "fi", check)


def load(path: Path) -> Index:
    """Raises: CheckpointError when the file is damaged, or is no index."""
    return read(SEAL, path, "fi", _parse)


def _parse(arrays: dict[str, Array], meta: str) -> Index:
    """Raises: ValueError for arrays that do not fit together."""
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
    if not 0 < n <= MOST or not width:
        raise ValueError(f"directions: expected 1 to {MOST} images with features, got {n} with {width}")
    for name, (low, high) in RANGES.items():
        if not low <= arrays[name].min() <= arrays[name].max() <= high:
            raise ValueError(f"{name}: expected numbers from {low:g} to {high:g}")
    return Index(Origin(**origin), arrays)


def is_current(path: Path, corpus: Corpus) -> bool:
    """Whether a file is the whole index of a data set."""
    try:
        return load(path).origin == _origin(corpus)
    except CheckpointError:
        return False


def check_index(path: Path, index: Index, restored: Speaker) -> Index:
    """Return the index. Raises: CheckpointError when it is that of another model's training split."""
    meta, origin = restored.meta, index.origin
    expected = {
        "vocabulary": origin.vocabulary == _digest(restored.vocab),
        "encoder": are_same(origin.encoder, meta.encoder),
        "feature width": index.arrays["directions"].shape[1] == meta.feature_dim,
        "training split": meta.train_fingerprint == origin.train,
    }
    for what, is_same in expected.items():
        if not is_same:
            raise CheckpointError(
                f"{path}: expected the {what} of {restored.path}, got that of another run; delete the file"
            )
    return index


def check_train(restored: Speaker, corpus: Corpus) -> None:
    """Raises: CheckpointError when a data set's training split is not the one that a model was trained on."""
    if corpus.fingerprint(["train"]) != restored.meta.train_fingerprint:
        root = restored.config.data.root or restored.config.data.source
        raise CheckpointError(
            f"{root}: training split: expected the captions that {restored.path} was trained on, got others; "
            "use the data set of the training"
        )


def _digest(vocab: Vocab) -> str:
    return hashlib.sha256("\n".join(vocab.words).encode()).hexdigest()


def _split(items: Sequence[T], sizes: Array) -> list[Sequence[T]]:
    bounds = np.append(0, np.cumsum(sizes)).tolist()
    return [items[first:last] for first, last in pairwise(bounds)]
