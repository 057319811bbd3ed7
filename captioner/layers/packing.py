"""Packed sequences: only the real time steps of captions of different lengths.

Captions are sorted by length, longest first. Step t has rows for its n_t unfinished captions only, in sorted order; all
steps together are P = Σ lengths rows, time-major. Masked positions have no row, so they are never computed.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array


class Packing(NamedTuple):
    """The position of each of the P packed rows.

    Captions may be split into shards, whose rows follow each other; each shard is sorted and time-major. Captions of
    length 0 stay in `order`, at the end of their shard.

    Shapes: order (N,) captions, shard by shard, longest first; caption, time (P,) the position of each row in an (N, T)
    array; previous (P,) the row of its previous state, among N initial rows followed by P rows.
    """

    order: Array
    caption: Array
    time: Array
    previous: Array
    steps: list[list[tuple[int, int]]]
    """For each shard and step, the first row and the end row."""
    shards: list[slice]
    """For each shard, the slice of `order` with its captions."""

    @property
    def rows(self) -> list[slice]:
        """For each shard, the slice of its rows."""
        return [slice(steps[0][0], steps[-1][1]) if steps else slice(0, 0) for steps in self.steps]

    @property
    def max_rows(self) -> int:
        """The largest number of rows of a step."""
        return max((end - start for steps in self.steps for start, end in steps[:1]), default=0)

    def unpack(self, rows: Array, steps: int) -> Array:
        """Scatter packed rows into a padded array of zeros.

        Shapes: rows (P, D) -> (N, steps, D).
        """
        out = np.zeros((len(self.order), steps, *rows.shape[1:]), rows.dtype)
        out[self.caption, self.time] = rows
        return out


def caption_lengths(captions: Array, null: int) -> Array:
    """Return the steps of each caption, which end with its last target.

    A masked target before it is a step without a loss.

    Shapes: captions (N, T) -> (N,).
    """
    ends = np.arange(1, captions.shape[1]) * (captions[:, 1:] != null)
    lengths: Array = ends.max(axis=1, initial=0)
    return lengths


def pack(lengths: Array, shards: int = 1, image: Array | None = None) -> Packing:
    """Plan the packed rows of captions; dealing captions in turn balances the rows of the shards.

    With `image`, captions of an image are in one shard, except where an image is split to balance the shards.

    Shapes: lengths, image (N,) the steps and the image of each caption -> P = Σ lengths rows.
    """
    order = np.argsort(-lengths, kind="stable")
    if image is None:
        shard_of = np.argsort(order) % shards
    else:
        by_image = np.argsort(image, kind="stable")
        ends = np.cumsum(lengths[by_image])
        shard = (ends - lengths[by_image]) * shards // max(1, lengths.sum())
        shard_of = np.empty_like(order)
        shard_of[by_image] = np.minimum(shard, shards - 1)  # that of captions of length 0 at the end would be `shards`
    captions = [order[shard_of[order] == shard] for shard in range(shards)]
    packed, slices, rows, first = [], [], 0, 0
    for shard_captions in captions:
        counts = (lengths[shard_captions][None, :] > np.arange(lengths.max(initial=0))[:, None]).sum(axis=1)
        counts = counts[counts > 0]
        starts = rows + np.r_[0, np.cumsum(counts)]
        time = np.repeat(np.arange(len(counts)), counts)
        column = np.arange(rows, starts[-1]) - starts[time]
        before = np.r_[first, len(lengths) + starts[:-1]]
        packed.append((shard_captions[column], time, before[time] + column, list(itertools.pairwise(starts.tolist()))))
        slices.append(slice(first, first + len(shard_captions)))
        rows, first = int(starts[-1]), first + len(shard_captions)
    *arrays, steps = zip(*packed, strict=True)
    caption, time, previous = map(np.concatenate, arrays)
    return Packing(np.concatenate(captions), caption, time, previous, list(steps), slices)
