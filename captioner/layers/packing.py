"""Packed sequences: only the real steps of captions of different lengths, step after step.

Captions are sorted by length, longest first. Step t then has its n_t live captions in the first n_t places, and
all steps together are P = Σ lengths rows, time-major. A masked position has no row, so it is never computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array


class Packing(NamedTuple):
    """Where the P packed rows come from.

    A caption without any step keeps its place in `order`, at the end.

    Shapes: order (N,) captions, longest first; starts (T + 1,) first row of each step; caption, time (P,) the place
    of each row in an (N, T) array; previous (P,) the row of the state before it, in N initial rows and then P rows.
    """

    order: Array
    starts: Array
    caption: Array
    time: Array
    previous: Array

    def steps(self) -> Iterator[tuple[int, int]]:
        """First row and end row of each step."""
        bounds = self.starts.tolist()
        return itertools.pairwise(bounds)

    def unpack(self, rows: Array, steps: int) -> Array:
        """Put packed rows back into a padded array, with zeros where there was no row.

        Shapes: rows (P, D) -> (N, steps, D).
        """
        out = np.zeros((len(self.order), steps, *rows.shape[1:]), rows.dtype)
        out[self.caption, self.time] = rows
        return out


def pack(lengths: Array) -> Packing:
    """Plan the rows for captions of the given lengths.

    Shapes: lengths (N,) steps of each caption -> P = Σ lengths rows.
    """
    order = np.argsort(-lengths, kind="stable")
    counts = (lengths[None, :] > np.arange(lengths.max(initial=0))[:, None]).sum(axis=1)
    starts = np.r_[0, np.cumsum(counts)]
    time = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(starts[-1]) - starts[time]
    before = np.r_[0, len(lengths) + starts[:-1]]
    return Packing(order, starts, order[place], time, before[time] + place)
