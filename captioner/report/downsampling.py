"""Downsample curves: keep the minimum and maximum of each bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from captioner.report.history import Points

T = TypeVar("T")


def downsample(points: Points, limit: int) -> Points:
    """Keep at most about `limit` points: the minimum and maximum of each of `limit` / 2 bins, and both ends.

    So a spike of a single step remains visible.
    """
    if len(points) <= limit:
        return points
    bins = limit // 2
    kept = {0, len(points) - 1}
    for number in range(bins):
        first, end = number * len(points) // bins, (number + 1) * len(points) // bins
        rows = range(first, end)
        kept |= {min(rows, key=lambda row: points[row][1]), max(rows, key=lambda row: points[row][1])}
    return [points[row] for row in sorted(kept)]


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items at even distances, the first and the last included; one is that in the middle."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    return [items[round(number * (len(items) - 1) / (count - 1))] for number in range(count)]
