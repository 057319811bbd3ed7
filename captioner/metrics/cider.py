"""CIDEr-D: TF-IDF-weighted n-gram similarity between a caption and its references."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from captioner.metrics.bleu_and_rouge import MAX_N, Words, count, flatten, lengths

SIGMA = 6.0


class CiderD:
    """CIDEr-D against fixed references, whose n-grams are counted once.

    With h and r the TF-IDF vectors of a caption and a reference (n-gram count times log(images / images whose
    references contain the n-gram)) and l their lengths:

    CIDEr-D = 10 mean_{n = 1..4} mean_r exp(-(l_h - l_r)^2 / 2 sigma^2) min(h, r) . r / (|h| |r|)

    The document frequencies come from `weights`, if given.

    Raises: DataError if an image has no reference.
    Source: Vedantam et al., "CIDEr", 2015, section 4; sigma, and lengths in bigrams, as in pycocoevalcap 1.2.
    """

    def __init__(self, references: Sequence[Sequence[Words]], weights: CiderD | None = None) -> None:
        flat, image = flatten(references)
        self.ids: dict[Hashable, int] = dict(weights.ids) if weights else {}
        counts = count(flat, self.ids)
        self.keys, gram = np.unique(counts.key, return_inverse=True)
        # sort the entries by image and n-gram: one group per pair, with one entry per reference
        pair = image[counts.row] * len(self.keys) + gram
        by = np.argsort(pair, kind="stable")
        self.pairs, first = np.unique(pair[by], return_index=True)
        self.first = np.append(first, len(pair))
        self.reference, self.times = counts.row[by], counts.times[by]

        self.weights = weights or self
        having = np.bincount(self.pairs % max(1, len(self.keys)), minlength=len(self.keys))
        self.log_images = float(np.log(max(1, len(references))))
        self.idf = self.log_images - np.log(having)
        idf = self.weights.weigh(self.keys)
        self.norms = _norms(counts.row, counts.order, counts.times * idf[gram], len(flat))
        self.bigrams = _bigrams(flat)
        self.image = image
        self.references = np.bincount(image, minlength=len(references))

    def weigh(self, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Return the inverse document frequency of each n-gram; it is largest for unseen ones."""
        place, known = _find(self.keys, keys)
        idf = np.full(len(keys), self.log_images)
        idf[known] = self.idf[place[known]]
        return idf

    def score(self, images: ArrayLike, captions: Sequence[Words]) -> NDArray[np.float64]:
        """Return the CIDEr-D of captions, each against the references of its image.

        Shapes: images (N,) and N captions -> (N,).
        """
        image = np.asarray(images, np.int64)
        counts = count(captions, dict(self.ids))
        idf = self.weights.weigh(counts.key)
        gram, known = _find(self.keys, counts.key)
        norms = _norms(counts.row, counts.order, counts.times * idf, len(captions))

        # a match is an n-gram of a caption in one reference of its image
        place, there = _find(self.pairs, image[counts.row] * len(self.keys) + gram)
        entry = np.flatnonzero(known & there)
        place = place[entry]
        sizes = self.first[place + 1] - self.first[place]
        entry = np.repeat(entry, sizes)
        match = np.arange(len(entry)) + np.repeat(self.first[place] - (np.cumsum(sizes) - sizes), sizes)

        row, order, reference = counts.row[entry], counts.order[entry], self.reference[match]
        product = np.minimum(counts.times[entry], self.times[match]) * self.times[match] * idf[entry] ** 2
        norm = norms[row, order] * self.norms[reference, order]
        apart = _bigrams(captions)[row] - self.bigrams[reference]
        # if a norm is 0, every n-gram of this order occurs for all images, so the product is 0 too
        similarity = product / np.where(norm > 0, norm, 1) * np.exp(-(apart**2) / (2 * SIGMA**2))
        return np.asarray(10 / MAX_N * np.bincount(row, similarity, len(captions)) / self.references[image])


def cider_d(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """Return the CIDEr-D of each caption, with IDF from these references; the corpus score is the mean.

    Shapes: N captions and N lists of references -> (N,).
    """
    return CiderD(references).score(np.arange(len(captions)), captions)


def _find(ordered: NDArray[np.generic], values: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the index of each value in a sorted array, and whether it is present."""
    if not len(ordered):
        return np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return place, ordered[place] == values


def _norms(
    row: NDArray[np.int64], order: NDArray[np.int64], weight: NDArray[np.float64], rows: int
) -> NDArray[np.float64]:
    return np.sqrt(np.bincount(row * MAX_N + order, weight**2, rows * MAX_N)).reshape(rows, MAX_N)


def _bigrams(captions: Sequence[Words]) -> NDArray[np.int64]:
    return np.maximum(lengths(captions) - 1, 0)
