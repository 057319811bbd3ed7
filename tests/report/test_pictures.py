"""Pictures as data URIs, and attention as shapes: the cells of a path are those that the map hides."""

import re

import numpy as np
from numpy.typing import NDArray

from captioner.captioning.caption import Attention
from captioner.report.pictures import LEVELS, WordMap, visibility, word_maps


def hidden(word: WordMap, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Draw the paths of a word into a grid."""
    grid = np.zeros(shape)
    for overlay in word.overlays:
        for column, row, width in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", overlay.path):
            cells = grid[int(row), int(column) : int(column) + int(width)]
            assert not cells.any(), "no cell is hidden twice"
            cells[:] = overlay.opacity
    return grid


def test_the_shapes_are_the_map() -> None:
    weights = np.random.default_rng(0).dirichlet(np.ones(7 * 5 + 1) / 5, 6)
    attention = Attention(["a", "dog", "runs", "x" * 99, "\u202edog", "."], weights, (7, 5))
    maps = word_maps(attention)
    for word, grid, sentinel in zip(maps, attention.maps, attention.sentinel, strict=True):
        np.testing.assert_allclose(hidden(word, (7, 5)), 1 - visibility(grid, sentinel), atol=0.51 / LEVELS)
        assert grid[word.row, word.column] == grid.max() == word.strongest
        assert word.sentinel == sentinel
    assert [word.word for word in maps][:3] == ["a", "dog", "runs"]
    assert len(maps[3].word) == 40
    assert maps[4].word == "\\u202edog"


def test_a_word_of_the_sentinel_hides_everything() -> None:
    (word,) = word_maps(Attention(["of"], np.array([[0.0, 0, 0, 0, 1]]), (2, 2)))
    assert hidden(word, (2, 2)).min() > 0.8


def test_a_path_is_short() -> None:
    weights = np.full((1, 197), 1 / 197)
    weights[0, 7] = 0.5
    (word,) = word_maps(Attention(["a"], weights / weights.sum(), (14, 14)))
    assert len(word.overlays) <= 2
    assert sum(len(overlay.path) for overlay in word.overlays) < 400
