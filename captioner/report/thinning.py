"""Fewer points with the same look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from captioner.report.history import Points

T = TypeVar("T")


def thinned(points: Points, limit: int) -> Points:
    """Keep at most about `limit` points: of each of `limit` / 2 shares the lowest and the highest, and both ends.

    So a spike of a single step remains visible.
    """
    if len(points) <= limit:
        return points
    shares = limit // 2
    kept = {0, len(points) - 1}
    for share in range(shares):
        first, end = share * len(points) // shares, (share + 1) * len(points) // shares
        rows = range(first, end)
        kept |= {min(rows, key=lambda row: points[row][1]), max(rows, key=lambda row: points[row][1])}
    return [points[row] for row in sorted(kept)]


def evenly(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` items at even distances, the first and the last included; one is that in the middle."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    return [items[round(number * (len(items) - 1) / (count - 1))] for number in range(count)]
