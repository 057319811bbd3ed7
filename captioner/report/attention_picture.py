"""The attention of a caption as shapes over its picture, one drawing per word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.images.attention_picture import visibility
from captioner.printable import printable

LEVELS = 20
"""Steps of opacity: cells of one step share an SVG path, so that a page of many maps remains small."""
MAX_WORD = 40


class Overlay(NamedTuple):
    """Cells that hide the picture with one opacity, as SVG path data in units of cells."""

    opacity: float
    path: str


class WordMap(NamedTuple):
    """The attention of one word: what hides the picture, the strongest cell, and the weights."""

    word: str
    overlays: list[Overlay]
    row: int
    column: int
    strongest: float
    sentinel: float


def word_maps(words: Sequence[str], maps: Array, sentinel: Array) -> list[WordMap]:
    """Draw the attention of each word of a caption.

    Shapes: T words, maps (T, rows, columns), sentinel (T,).
    """
    return [
        _word_map(printable(word, MAX_WORD), map_, weight)
        for word, map_, weight in zip(words, maps, sentinel.tolist(), strict=True)
    ]


def _word_map(word: str, map_: Array, sentinel: float) -> WordMap:
    row, column = np.unravel_index(int(map_.argmax()), map_.shape)
    hidden = np.rint((1 - visibility(map_, sentinel)) * LEVELS).astype(int)
    overlays = [Overlay(level / LEVELS, _cells(hidden == level)) for level in np.unique(hidden).tolist() if level > 0]
    return WordMap(word, overlays, int(row), int(column), float(map_.max()), sentinel)


def _cells(chosen: Array) -> str:
    """Return a path of the chosen cells; neighbours in a row are one rectangle."""
    parts = []
    for row, line in enumerate(chosen):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(int), [0])))).tolist()
        parts += [f"M{a} {row}h{b - a}v1h{a - b}z" for a, b in zip(edges[::2], edges[1::2], strict=True)]
    return "".join(parts)
