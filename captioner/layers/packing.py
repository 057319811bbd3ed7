"""Packed sequences: only the real steps of captions of different lengths, step after step.

Captions are sorted by length, longest first. Step t then has its n_t live captions in the first n_t places, and
all steps together are P = Σ lengths rows, time-major. A masked position has no row, so it is never computed.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array


class Packing(NamedTuple):
    """Where the P packed rows come from.

    Captions may be dealt to several parts, whose rows follow each other; each part is sorted and time-major by itself.
    A caption without any step keeps its place in `order`, at the end of its part.

    Shapes: order (N,) captions, part after part, longest first; caption, time (P,) the place of each row in an (N, T)
    array; previous (P,) the row of the state before it, in N initial rows and then P rows.
    """

    order: Array
    caption: Array
    time: Array
    previous: Array
    parts: list[list[tuple[int, int]]]
    """First row and end row of each step of each part."""
    places: list[slice]
    """The places of each part's captions in `order`."""

    def unpack(self, rows: Array, steps: int) -> Array:
        """Put packed rows back into a padded array, with zeros where there was no row.

        Shapes: rows (P, D) -> (N, steps, D).
        """
        out = np.zeros((len(self.order), steps, *rows.shape[1:]), rows.dtype)
        out[self.caption, self.time] = rows
        return out


def pack(lengths: Array, parts: int = 1) -> Packing:
    """Plan the rows for captions of the given lengths; dealt longest first, all parts have about as many rows.

    Shapes: lengths (N,) steps of each caption -> P = Σ lengths rows.
    """
    order = np.argsort(-lengths, kind="stable")
    hands = [order[part::parts] for part in range(parts)]
    packed, places, rows, place = [], [], 0, 0
    for hand in hands:
        counts = (lengths[hand][None, :] > np.arange(lengths.max(initial=0))[:, None]).sum(axis=1)
        counts = counts[counts > 0]
        starts = rows + np.r_[0, np.cumsum(counts)]
        time = np.repeat(np.arange(len(counts)), counts)
        column = np.arange(rows, starts[-1]) - starts[time]
        before = np.r_[place, len(lengths) + starts[:-1]]
        steps = list(itertools.pairwise(starts.tolist()))
        packed.append((hand[column], time, before[time] + column, steps))
        places.append(slice(place, place + len(hand)))
        rows, place = int(starts[-1]), place + len(hand)
    *rows_of_parts, steps_of_parts = zip(*packed, strict=True)
    caption, time, previous = map(np.concatenate, rows_of_parts)
    return Packing(np.concatenate(hands), caption, time, previous, list(steps_of_parts), places)
