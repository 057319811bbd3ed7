"""Rows grouped by image, so that one batched product computes all rows of each image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array


class RowGroups(NamedTuple):
    """P rows sorted by group, and their places in an array that is padded to the largest group.

    Shapes: rows (P,) in sorted order; place (P,) below M · width; bounds (M + 1,) where each group begins in `rows`.
    """

    rows: Array
    place: Array
    bounds: Array
    width: int

    def shard(self, groups: slice) -> RowGroups:
        """Return a contiguous range of groups."""
        bounds = self.bounds[groups.start : groups.stop + 1]
        some = slice(bounds[0], bounds[-1])
        return RowGroups(self.rows[some], self.place[some] - groups.start * self.width, bounds - bounds[0], self.width)

    def pad(self, x: Array) -> Array:
        """Scatter rows in sorted order into an array of zeros.

        Shapes: x (P, D) -> (M, width, D).
        """
        out = np.zeros((len(self.bounds) - 1, self.width, x.shape[1]), x.dtype)
        out.reshape(-1, x.shape[1])[self.place] = x
        return out

    def unpad(self, padded: Array) -> Array:
        """Gather the rows of a padded array in sorted order.

        Shapes: padded (M, width, D) -> (P, D).
        """
        rows: Array = padded.reshape(-1, padded.shape[2])[self.place]
        return rows


def group_rows(group: Array, groups: int) -> RowGroups:
    """Sort rows by group.

    Shapes: group (P,) ids below M = `groups`.
    """
    rows = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=groups)
    bounds = np.append(0, np.cumsum(sizes))
    of_row = group[rows]
    width = int(sizes.max(initial=0))
    return RowGroups(rows, of_row * width + np.arange(len(rows)) - bounds[of_row], bounds, width)
