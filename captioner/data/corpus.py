"""One shape for every data set: a vocabulary and splits of captions with image features.

After a source has returned a `Corpus`, nothing knows where the data came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError
from captioner.text.tokenizer import join
from captioner.text.vocabulary import Vocab

ROWS_AT_ONCE = 1024
LARGEST = 1e30
"""Features beyond this would overflow in float32, or in their deviation."""


class Features(Protocol):
    """A matrix of image features (M, F) that gives rows by index: an array, or rows of a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __getitem__(self, rows: Any, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Split:
    """The captions of some images.

    `texts` are the captions as people wrote them, where the source keeps them. `is_true(image, words)` says whether a
    caption is true of an image, and `picture(image)` gives its pixels, where the source can know that.

    Shapes: captions (K, T) int32, `<START> w1 .. wn <END> <NULL> ...`; image_idxs (K,) rows of features;
    features (M, F); image_ids M names; texts K.
    """

    captions: NDArray[np.int32]
    image_idxs: NDArray[np.int32]
    features: Features
    image_ids: Sequence[str]
    is_true: Callable[[int, Sequence[str]], bool] | None = None
    texts: Sequence[str] | None = None
    picture: Callable[[int], NDArray[np.uint8]] | None = None

    @cached_property
    def captioned_images(self) -> NDArray[np.int32]:
        """The images with at least one caption, in ascending order."""
        return np.unique(self.image_idxs)

    @cached_property
    def _rows_by_image(self) -> tuple[NDArray[np.intp], list[int]]:
        """The rows of `captions` sorted by image, and where the rows of each image begin."""
        order = np.argsort(self.image_idxs, kind="stable")
        return order, np.searchsorted(self.image_idxs[order], np.arange(self.features.shape[0] + 1)).tolist()

    def caption_rows(self, image: int) -> list[int]:
        """The rows of `captions` that belong to one image, in file order."""
        order, first = self._rows_by_image
        rows: list[int] = order[first[image] : first[image + 1]].tolist()
        return rows

    def references(self, image: int, vocab: Vocab) -> list[str]:
        """The reference captions of one image, in file order: raw texts if the source has them, else decoded ids."""
        return [self.text(row, vocab) for row in self.caption_rows(image)]

    def reference_ids(self, vocab: Vocab) -> tuple[NDArray[np.int32], list[list[list[int]]]]:
        """`captioned_images`, and the reference captions of each as word ids with `<END>`.

        `<UNK>` becomes -1, an id that no model can write.
        """
        words = vocab.unpadded(np.where(self.captions == vocab.unk, -1, self.captions)[:, 1:])
        images = self.captioned_images
        return images, [[words[row] for row in self.caption_rows(image)] for image in images.tolist()]

    def text(self, row: int, vocab: Vocab) -> str:
        """One caption."""
        return self.texts[row] if self.texts is not None else join(vocab.decode(self.captions[row].tolist()))


@dataclass(frozen=True)
class Corpus:
    """A vocabulary, splits by name, the identity of the encoder that made the features, and what else the maker of the
    data set wrote down `about` it, which nothing depends on.
    """

    vocab: Vocab
    splits: Mapping[str, Split]
    encoder: str
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def feature_dim(self) -> int:
        return int(next(iter(self.splits.values())).features.shape[1])

    def split(self, name: str) -> Split:
        """Raises: DataError when there is no such split."""
        if name not in self.splits:
            raise DataError(f"split {name!r}: no such split; this data set has {', '.join(self.splits)}")
        return self.splits[name]

    def fingerprint(self, names: Sequence[str] | None = None) -> str:
        """A digest of the vocabulary, the captions, their images, and the features' shapes: of all splits, or of some.

        The features' numbers are left to `probe`, and their encoder to `images.are_same`: one encoder may have several
        names.
        """
        digest = hashlib.sha256("\n".join(self.vocab.words).encode())
        for name in self.splits if names is None else names:
            split = self.splits[name]
            digest.update(f"\n{name} {split.captions.shape} {split.features.shape}\n".encode())
            digest.update(np.ascontiguousarray(split.captions).tobytes())
            digest.update(np.ascontiguousarray(split.image_idxs).tobytes())
        return digest.hexdigest()

    def probe(self) -> list[float]:
        """The mean of some rows' features in each split, to tell other features of the same shape from these.

        Unlike a digest it is compared with a tolerance: the last bits of generated features differ between machines.
        """
        means = []
        for split in self.splits.values():
            rows = np.unique(np.linspace(0, split.features.shape[0] - 1, 64).astype(int))
            means.append(float(split.features[rows].mean(dtype=np.float64)))
        return means


def validate(corpus: Corpus, where: str) -> Corpus:
    """Check every array of a corpus once, and return it.

    Raises: DataError that names the split, the array and the first bad row.
    """
    widths = {name: split.features.shape[1:] for name, split in corpus.splits.items()}
    if len(set(widths.values())) > 1:
        raise DataError(f"{where}: the splits' features differ in width: {widths}; encode all images alike")
    for name, split in corpus.splits.items():
        check_captions(split.captions, corpus.vocab, f"{where}: {name} captions")
        check_image_idxs(split, f"{where}: {name}")
        check_features(split.features, f"{where}: {name} features")
    return corpus


def check_captions(captions: NDArray[Any], vocab: Vocab, where: str) -> None:
    """Raises: DataError for a shape, id or order of special tokens that a captioner cannot learn from."""
    if captions.ndim != 2 or captions.shape[0] < 1 or captions.shape[1] < 3 or captions.dtype.kind not in "iu":
        raise DataError(
            f"{where}: expected integers (captions, words) of at least (1, 3), got {captions.dtype} {captions.shape}"
        )
    ends = captions == vocab.end
    ended = np.cumsum(ends, axis=1) - ends > 0
    rules = (
        (((captions < 0) | (captions >= len(vocab))).any(axis=1), f"an id outside 0..{len(vocab) - 1}"),
        (captions[:, 0] != vocab.start, "does not begin with <START>"),
        (~ends.any(axis=1), "has no <END>"),
        (((captions == vocab.null) & ~ended & ~ends).any(axis=1), "has <NULL> before <END>"),
        ((ended & (captions != vocab.null)).any(axis=1), "goes on after <END>"),
        ((captions[:, 1:] == vocab.start).any(axis=1), "has a second <START>"),
    )
    for bad, problem in rules:
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{where}: row {row}: {problem} ({int(bad.sum())} such rows): {captions[row].tolist()}")


def check_image_idxs(split: Split, where: str) -> None:
    """Raises: DataError when captions and images do not fit together."""
    images, idxs = int(split.features.shape[0]), split.image_idxs
    if idxs.shape != split.captions.shape[:1] or idxs.dtype.kind not in "iu":
        raise DataError(
            f"{where} image_idxs: expected integers {split.captions.shape[:1]}, one a caption, "
            f"got {idxs.dtype} {idxs.shape}"
        )
    bad = (idxs < 0) | (idxs >= images)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{where} image_idxs: row {row}: expected 0..{images - 1}, got {int(idxs[row])}")
    if len(split.image_ids) != images:
        raise DataError(f"{where} image ids: expected {images}, one a row of features, got {len(split.image_ids)}")
    if split.texts is not None and len(split.texts) != len(idxs):
        raise DataError(f"{where} texts: expected {len(idxs)}, one a caption, got {len(split.texts)}")


def check_features(features: Features, where: str, most: int | None = None) -> None:
    """Raises: DataError for features that are not a matrix of finite floats, in the first `most` rows."""
    if len(features.shape) != 2 or 0 in features.shape or features.dtype.kind != "f":
        raise DataError(f"{where}: expected floats (images, feature), got {features.dtype} {tuple(features.shape)}")
    count = min(features.shape[0], most or features.shape[0])
    for first in range(0, count, ROWS_AT_ONCE):
        block = features[first : min(first + ROWS_AT_ONCE, count)]
        good = (np.abs(block) <= min(LARGEST, float(np.finfo(block.dtype).max))).all(axis=1)
        if not good.all():
            row = int(good.argmin())
            finite = np.isfinite(block[row]).all()
            problem = f"a number is beyond {LARGEST:g}" if finite else "a number is not finite (NaN or infinity)"
            raise DataError(f"{where}: row {first + row}: {problem}")
