"""`Corpus`, the common form of all data sets: a vocabulary and splits of captions with image features."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from captioner.arrays import Rows, SharedRows, blocks
from captioner.data.vocabulary import Vocab, join, tokenize
from captioner.errors import DataError

MAX_FEATURE = 1e30
"""The largest valid magnitude of a feature: beyond it, float32 or the standard deviation may overflow."""


Features: TypeAlias = Rows
"""Image features (M, F), or regions (M, rows, columns, R), by image."""


@dataclass(frozen=True)
class Split:
    """Captions and image features of one split.

    `regions`, if given, are features of a grid of regions of each image, for attention. `digests` are those of features
    and regions that `digest_of_rows` need not compute, because the source has them, or a constant where values differ
    between machines by rounding. `texts` are the raw captions,
    if the source has them. `is_correct(image, words)` checks whether a caption is fully correct, `picture(image)`
    returns the pixels of an image, and `pointing_game(image, words, weights)` checks for each word that names an object
    whether the strongest region contains it, if the source can do so. `sources` are the names of the collections that
    the images are from, in a data set that was prepared from several.

    Shapes: captions (K, T) int32, `<START> w1 .. wn <END> <NULL> ...`; image_idxs (K,) rows of features;
    features (M, F); image_ids M names; texts K; regions (M, rows, columns, R); sources M names.
    """

    captions: NDArray[np.int32]
    image_idxs: NDArray[np.int32]
    features: Features
    image_ids: Sequence[str]
    is_correct: Callable[[int, Sequence[str]], bool] | None = None
    texts: Sequence[str] | None = None
    picture: Callable[[int], NDArray[np.uint8]] | None = None
    regions: Features | None = None
    pointing_game: Callable[[int, Sequence[str], NDArray[Any]], list[bool]] | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    sources: Sequence[str] | None = None

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

    def select_captions(self, rows: NDArray[Any]) -> Split:
        """Return a split with some of its captions and all of its images."""
        texts = None if self.texts is None else [self.texts[row] for row in rows.tolist()]
        return dataclasses.replace(self, captions=self.captions[rows], image_idxs=self.image_idxs[rows], texts=texts)

    def text(self, row: int, vocab: Vocab) -> str:
        """Return one caption: the raw text, or else its decoded ids."""
        return self.texts[row] if self.texts is not None else join(vocab.decode(self.captions[row].tolist()))


@dataclass(frozen=True)
class Corpus:
    """A data set: vocabulary, splits by name, the identity of the image encoder, and `photo_side`, as in `Meta`.

    `about` holds metadata for readers, such as the sources and counts; no computation depends on it.
    """

    vocab: Vocab
    splits: Mapping[str, Split]
    encoder: str
    about: Mapping[str, Any] = field(default_factory=dict)
    photo_side: int = 0

    @property
    def feature_dim(self) -> int:
        return int(next(iter(self.splits.values())).features.shape[1])

    @property
    def region_dim(self) -> int:
        """The region dimension R, or 0 without regions."""
        regions = next(iter(self.splits.values())).regions
        return 0 if regions is None else int(regions.shape[-1])

    @property
    def grid(self) -> tuple[int, ...]:
        """The rows and columns of the grid of regions, or () without regions."""
        regions = next(iter(self.splits.values())).regions
        return () if regions is None else tuple(regions.shape[1:-1])

    def split(self, name: str) -> Split:
        """Return a split by name. Raises: DataError when the data set does not have it."""
        if name not in self.splits:
            raise DataError(f"split {name!r}: not found; this data set has {', '.join(self.splits)}")
        return self.splits[name]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the data set, without the name of the encoder."""
        return self._digest(self.splits, ("features", "regions"))

    @cached_property
    def train_digest(self) -> str:
        """The SHA-256 of the training split, by which models recognize it; "" without one.

        Regions have no part in it: models without attention do not load them.
        """
        return self._digest(["train"], ("features",)) if "train" in self.splits else ""

    def _digest(self, names: Iterable[str], parts: Sequence[str]) -> str:
        digest = self.vocab.digest()
        for name in names:
            split = self.splits[name]
            digest.update(f"\n{name} {split.captions.shape} {split.features.shape}\n".encode())
            digest.update(np.ascontiguousarray(split.captions).tobytes())
            digest.update(np.ascontiguousarray(split.image_idxs).tobytes())
            for part in parts:
                rows: Features | None = getattr(split, part)
                if rows is not None:
                    value = split.digests.get(part) or digest_of_rows(rows)
                    digest.update(f"\n{part} {rows.dtype} {rows.shape} {value}\n".encode())
            digest.update("\n".join(split.texts or ()).encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def digest_of_rows(features: Features) -> str:
    """Return the SHA-256 of the values of features or regions."""
    digest = hashlib.sha256()
    for _, rows in blocks(features):
        digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


def captions_digest(split: Split) -> str:
    """Return the SHA-256 of the encoded captions of a split and of the images that they belong to."""
    digest = hashlib.sha256(f"{split.captions.shape}\n".encode())
    digest.update(np.ascontiguousarray(split.captions).tobytes())
    digest.update(np.ascontiguousarray(split.image_idxs).tobytes())
    return digest.hexdigest()


def with_vocabulary(corpus: Corpus, vocab: Vocab) -> Corpus:
    """Encode the captions of a corpus with another vocabulary; words that it does not have become `<UNK>`.

    `<UNK>` of the corpus is replaced too if the source has raw captions: `vocab` may have words that are rare in train.
    """
    if vocab == corpus.vocab:
        return corpus
    ids = np.array([vocab.word_to_idx.get(word, vocab.unk) for word in corpus.vocab.words], np.int32)
    splits = {}
    for name, split in corpus.splits.items():
        captions, texts = ids[split.captions], split.texts or ()
        for row in np.flatnonzero((captions == vocab.unk).any(axis=1) & bool(texts)).tolist():
            known = captions[row, : int(np.argmax(captions[row] == vocab.end))]
            words = np.array(vocab.ids(tokenize(texts[row]))[:-1][: len(known)])
            if len(words) == len(known) and ((words == known) | (known == vocab.unk)).all():  # else, other tokens
                known[:] = words
        splits[name] = dataclasses.replace(split, captions=captions)
    return dataclasses.replace(corpus, vocab=vocab, splits=splits)


def validate(corpus: Corpus, where: str) -> Corpus:
    """Validate every array of a corpus, and return the corpus.

    Raises: DataError that names the split, the array and the first bad row.
    """
    widths = {name: split.features.shape[1:] for name, split in corpus.splits.items()}
    grids = {name: None if s.regions is None else s.regions.shape[1:] for name, s in corpus.splits.items()}
    for what, shapes in (("feature dimension", widths), ("shape of regions", grids)):
        if len(set(shapes.values())) > 1:
            raise DataError(f"{where}: expected one {what} in all splits, got {shapes}; use one encoder")
    for name, split in corpus.splits.items():
        check_captions(split.captions, corpus.vocab, f"{where}: {name} captions")
        check_image_idxs(split, f"{where}: {name}")
        check_features(split.features, f"{where}: {name} features")
        if split.regions is not None:
            check_region_values(split.regions, split.features, f"{where}: {name} regions")
    return corpus


def read_regions(regions: Features | None, images: NDArray[Any]) -> SharedRows | None:
    """Read the regions of images in reading order, each image once; None without regions.

    Shapes: regions (M, rows, columns, R), images (N,) below M -> N rows of values (L, R), L = rows * columns.
    """
    if regions is None:
        return None
    unique, place = np.unique(images, return_inverse=True)
    _, *grid, width = regions.shape
    return SharedRows(regions[unique].reshape(len(unique), math.prod(grid), width), place)


def check_captions(captions: NDArray[Any], vocab: Vocab, where: str) -> None:
    """Validate encoded captions. Raises: DataError for an invalid shape, id or order of special tokens."""
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
        ((ended & (captions != vocab.null)).any(axis=1), "has tokens after <END>"),
        ((captions[:, 1:] == vocab.start).any(axis=1), "has a second <START>"),
    )
    for bad, problem in rules:
        if bad.any():
            row = int(bad.argmax())
            raise DataError(f"{where}: row {row}: {problem} ({int(bad.sum())} such rows): {captions[row].tolist()}")


def check_image_idxs(split: Split, where: str) -> None:
    """Validate the links between captions and images. Raises: DataError for an index out of range or a wrong length."""
    images, idxs = int(split.features.shape[0]), split.image_idxs
    if idxs.shape != split.captions.shape[:1] or idxs.dtype.kind not in "iu":
        raise DataError(
            f"{where} image_idxs: expected integers {split.captions.shape[:1]}, one per caption, "
            f"got {idxs.dtype} {idxs.shape}"
        )
    bad = (idxs < 0) | (idxs >= images)
    if bad.any():
        row = int(bad.argmax())
        raise DataError(f"{where} image_idxs: row {row}: expected 0..{images - 1}, got {int(idxs[row])}")
    if len(split.image_ids) != images:
        raise DataError(f"{where} image ids: expected {images}, one per row of features, got {len(split.image_ids)}")
    if split.sources is not None and len(split.sources) != images:
        raise DataError(f"{where} sources: expected {images}, one per row of features, got {len(split.sources)}")
    if split.texts is not None and len(split.texts) != len(idxs):
        raise DataError(f"{where} texts: expected {len(idxs)}, one per caption, got {len(split.texts)}")


def check_region_values(regions: Features, features: Features, where: str, max_rows: int | None = None) -> None:
    """Validate regions, or their first `max_rows`. Raises: DataError unless they are grids of floats, one per image."""
    if regions.shape[:1] != features.shape[:1]:
        raise DataError(
            f"{where}: expected {features.shape[0]} images, one per row of features, got {sum(regions.shape[:1])}"
        )
    check_features(regions, where, max_rows, axes="images, rows, columns, numbers")


def check_features(features: Features, where: str, max_rows: int | None = None, axes: str = "images, feature") -> None:
    """Validate features, or their first `max_rows`. Raises: DataError unless they are finite floats with these axes."""
    if len(features.shape) != axes.count(",") + 1 or 0 in features.shape or features.dtype.kind != "f":
        raise DataError(f"{where}: expected floats ({axes}), got {features.dtype} {tuple(features.shape)}")
    for first, block in blocks(features, max_rows):
        good = (np.abs(block) <= min(MAX_FEATURE, float(np.finfo(block.dtype).max))).reshape(len(block), -1).all(axis=1)
        if not good.all():
            row = int(good.argmin())
            finite = np.isfinite(block[row]).all()
            problem = f"a number is beyond {MAX_FEATURE:g}" if finite else "a number is not finite (NaN or infinity)"
            raise DataError(f"{where}: row {first + row}: {problem}")
