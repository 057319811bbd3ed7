"""CIDEr-D: how much the n-grams of a caption are those that are telling for its image."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from captioner.metrics.ngrams import LONGEST, Words, count, flatten, lengths

SIGMA = 6.0


class CiderD:
    """CIDEr-D against fixed references, which are counted once.

    With h and r the counts of n-grams in a caption and a reference, each times log(images / images whose references
    have the n-gram), and l their lengths:

    CIDEr-D = 10 mean_{n = 1..4} mean_r exp(-(l_h - l_r)^2 / 2 sigma^2) min(h, r) . r / (|h| |r|)

    The images by which n-grams are weighed are those of `weights`, where that is given.

    Raises: DataError when an image has no reference.
    Source: Vedantam et al., "CIDEr", 2015, section 4; sigma, and lengths in bigrams, as in pycocoevalcap 1.2.
    """

    def __init__(self, references: Sequence[Sequence[Words]], weights: CiderD | None = None) -> None:
        flat, image = flatten(references)
        self.ids: dict[Hashable, int] = dict(weights.ids) if weights else {}
        counts = count(flat, self.ids)
        self.keys, some, gram = np.unique(counts.key, return_index=True, return_inverse=True)
        self.order = counts.order[some]
        # entries by image and n-gram: those of one pair, one a reference, stand together
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
        """How telling each n-gram is: those that no reference has are most so."""
        place, known = _find(self.keys, keys)
        idf = np.full(len(keys), self.log_images)
        idf[known] = self.idf[place[known]]
        return idf

    def score(self, images: ArrayLike, captions: Sequence[Words]) -> NDArray[np.float64]:
        """The CIDEr-D of captions, each against the references of its image.

        Shapes: images (N,) and N captions -> (N,).
        """
        image = np.asarray(images, np.int64)
        told = count(captions, dict(self.ids))
        idf = self.weights.weigh(told.key)
        gram, known = _find(self.keys, told.key)
        norms = _norms(told.row, told.order, told.times * idf, len(captions))

        # a match is an n-gram of a caption in one reference of its image
        place, there = _find(self.pairs, image[told.row] * len(self.keys) + gram)
        entry = np.flatnonzero(known & there)
        place = place[entry]
        sizes = self.first[place + 1] - self.first[place]
        entry = np.repeat(entry, sizes)
        match = np.arange(len(entry)) + np.repeat(self.first[place] - (np.cumsum(sizes) - sizes), sizes)

        row, order, reference = told.row[entry], told.order[entry], self.reference[match]
        product = np.minimum(told.times[entry], self.times[match]) * self.times[match] * idf[entry] ** 2
        norm = norms[row, order] * self.norms[reference, order]
        apart = _bigrams(captions)[row] - self.bigrams[reference]
        # where a norm is 0, every n-gram of the order is in the references of all images, and the product is 0 too
        alike = product / np.where(norm > 0, norm, 1) * np.exp(-(apart**2) / (2 * SIGMA**2))
        scores: NDArray[np.float64] = 10 / LONGEST * np.bincount(row, alike, len(captions)) / self.references[image]
        return scores

    def expected(self, captions: Sequence[Words], shares: NDArray[np.floating]) -> NDArray[np.float64]:
        """The CIDEr-D of captions against every image, each image by its share: Σ_i shares_i CIDEr-D(caption, i).

        Captions of a beam have most n-grams in common: each is looked up once among all references.

        Shapes: N captions, shares (images,) -> (N,).
        """
        told = count(captions, dict(self.ids))
        idf = self.weights.weigh(told.key)
        norms = _norms(told.row, told.order, told.times * idf, len(captions))
        gram, known = _find(self.keys, told.key)
        row, order, times, gram, idf = told.row[known], told.order[known], told.times[known], gram[known], idf[known]
        # what is sought among the references: an n-gram, as often as a caption has it
        most = int(times.max(initial=0)) + 1
        sought, of = np.unique(gram * most + times, return_inverse=True)
        gram, often = np.divmod(sought, most)
        entries = self._entries
        sizes = entries.first[gram + 1] - entries.first[gram]
        match = np.arange(sizes.sum()) + np.repeat(entries.first[gram] - (np.cumsum(sizes) - sizes), sizes)
        value = (np.asarray(shares, np.float64) / self.references)[entries.image[match]] * entries.value[match]
        value *= np.minimum(np.repeat(often, sizes), entries.times[match])
        # by the references' lengths, for captions of several
        longest = int(self.bigrams.max()) + 1
        place = np.repeat(np.arange(len(sought)) * longest, sizes) + entries.bigrams[match]
        by_length = np.bincount(place, value, len(sought) * longest).reshape(len(sought), longest)
        apart = _bigrams(captions)[:, None] - np.arange(longest)
        near = np.exp(-(apart**2) / (2 * SIGMA**2))
        length = norms[row, order]
        alike = np.einsum("el,el->e", by_length[of], near[row]) * idf / np.where(length > 0, length, 1)
        return np.asarray(10 / LONGEST * np.bincount(row, alike, len(captions)))

    @cached_property
    def _entries(self) -> _Entries:
        """The n-grams of all references, those of one n-gram together."""
        sizes = np.diff(self.first)
        gram = np.repeat(self.pairs % max(1, len(self.keys)), sizes)
        by = np.argsort(gram, kind="stable")
        reference, times, gram = self.reference[by], self.times[by], gram[by]
        norm = self.norms[reference, self.order[gram]]
        return _Entries(
            np.searchsorted(gram, np.arange(len(self.keys) + 1)),
            self.image[reference],
            self.bigrams[reference],
            times,
            times * self.weights.weigh(self.keys)[gram] / np.where(norm > 0, norm, 1),
        )


class _Entries(NamedTuple):
    """The n-grams of references, ordered by n-gram.

    Shapes: `first` (n-grams + 1,) where those of each begin; the others (E,): the image and the bigrams of the
    reference, the times the n-gram comes there, and its part of the reference's vector of length 1.
    """

    first: NDArray[np.int64]
    image: NDArray[np.int64]
    bigrams: NDArray[np.int64]
    times: NDArray[np.int64]
    value: NDArray[np.float64]


def cider_d(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> NDArray[np.float64]:
    """CIDEr-D of each caption, with n-grams weighed by these references; the score of a corpus is their mean.

    Shapes: N captions and N lists of references -> (N,).
    """
    return CiderD(references).score(np.arange(len(captions)), captions)


def _find(ordered: NDArray[np.generic], values: NDArray[np.generic]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The place of each value among ordered ones, and whether it is there at all."""
    if not len(ordered):
        return np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    place = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    return place, ordered[place] == values


def _norms(
    row: NDArray[np.int64], order: NDArray[np.int64], weight: NDArray[np.float64], rows: int
) -> NDArray[np.float64]:
    return np.sqrt(np.bincount(row * LONGEST + order, weight**2, rows * LONGEST)).reshape(rows, LONGEST)


def _bigrams(captions: Sequence[Words]) -> NDArray[np.int64]:
    return np.maximum(lengths(captions) - 1, 0)
