"""N-gram counts of many captions at once.

A word is any hashable value. Words are mapped to ids, and n-grams to 64-bit hashes of the ids of their words: among 10
million n-grams, the probability of any collision is 3 in a million.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from captioner.errors import DataError

Words = Sequence[Hashable]
LONGEST = 4
"""Maximum n of the counted n-grams."""


class Counts(NamedTuple):
    """One entry per distinct n-gram of each caption, ordered by caption.

    Shapes: all (E,): `row` of the caption, `order` n - 1, hash `key` and count `times` of the n-gram.
    """

    row: NDArray[np.int64]
    order: NDArray[np.int64]
    key: NDArray[np.uint64]
    times: NDArray[np.int64]


def lengths(captions: Sequence[Words]) -> NDArray[np.int64]:
    return np.fromiter(map(len, captions), np.int64, len(captions))


def count(captions: Sequence[Words], ids: dict[Hashable, int]) -> Counts:
    """Count the n-grams of captions, n = 1 .. `LONGEST`; new words are added to `ids`."""
    sizes = lengths(captions)
    flat = np.fromiter((ids.setdefault(word, len(ids)) for words in captions for word in words), np.uint64)
    row = np.repeat(np.arange(len(captions)), sizes)
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(flat))
    words = key = _mix(flat)
    rows, orders, keys = [], [], []
    for order in range(LONGEST):
        if order:
            key = _mix(key[:-1] * _ODD + words[order:])
        whole = left[: len(key)] > order
        rows.append(row[: len(key)][whole])
        keys.append(key[whole])
        orders.append(np.full(len(rows[-1]), order))
    return _collect(np.concatenate(rows), np.concatenate(orders), np.concatenate(keys))


def flatten(references: Sequence[Sequence[Words]]) -> tuple[list[Words], NDArray[np.int64]]:
    """Return the references of all images in one list, and the image index of each.

    Raises: DataError if an image has no reference.
    """
    sizes = lengths(references)
    if not sizes.all():
        raise DataError(f"references: image {int(sizes.argmin())}: expected at least one caption, got none")
    return [words for texts in references for words in texts], np.repeat(np.arange(len(references)), sizes)


def _collect(row: NDArray[np.int64], order: NDArray[np.int64], key: NDArray[np.uint64]) -> Counts:
    by = np.lexsort((key, row))
    row, order, key = row[by], order[by], key[by]
    new = np.ones(len(key), bool)
    new[1:] = (row[1:] != row[:-1]) | (key[1:] != key[:-1])
    first = np.flatnonzero(new)
    return Counts(row[first], order[first], key[first], np.diff(first, append=len(key)))


_ODD = np.uint64(0x9E3779B97F4A7C15)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64-bit integers by a bijection with good avalanche behaviour.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014, fig. 13 and 14.
    """
    x = (x + np.uint64(1)) * _ODD
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
