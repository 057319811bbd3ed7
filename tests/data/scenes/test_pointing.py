"""The pointing game on generated scenes."""

import numpy as np
import pytest

from captioner.data.scenes import make_split, pointing_game
from captioner.data.scenes import scenes as source
from captioner.data.scenes.scene import CELL, Scene, SceneObject
from captioner.data.vocabulary import Vocab

RED = SceneObject("circle", "red", "large", 0.5 * CELL, 0.5 * CELL)
BLUE = SceneObject("ring", "blue", "small", 1.5 * CELL, 2.5 * CELL)
SCENE = Scene((RED, BLUE))
WORDS = ["a", "large", "red", "circle", "above", "a", "small", "blue", "ring"]


def looking_at(*regions: int) -> np.ndarray:
    """Weights of words that each look at one region, and more at the sentinel."""
    weights = np.zeros((len(regions), 10))
    weights[np.arange(len(regions)), regions], weights[:, 9] = 0.4, 0.6
    return weights


def test_colours_and_shapes_point_at_their_objects() -> None:
    assert pointing_game(SCENE, WORDS, looking_at(8, 8, 0, 0, 8, 8, 8, 7, 7)) == [True] * 4
    assert pointing_game(SCENE, WORDS, looking_at(8, 8, 0, 7, 8, 8, 8, 0, 0)) == [True, False, False, False]


@pytest.mark.parametrize("text", ["", "red", "a large red ring", "circle red", "above the blue"])
def test_words_that_name_no_object_do_not_count(text: str) -> None:
    words = text.split()
    assert pointing_game(SCENE, words, looking_at(*[0] * len(words))) == []


def test_the_regions_of_a_split_are_the_windows_of_its_images() -> None:
    split = make_split(0, "val", 12, Vocab.build([["a"]]), regions=True)
    assert split.regions is not None
    assert split.pointing_game is not None
    assert split.regions.shape == (12, 3, 3, 77)
    for image, codes in enumerate(np.asarray(split.regions).reshape(12, 9, 77)):
        # A window with an object has a presence above 0: the weights of the words point at all of them in turn.
        present = np.flatnonzero(codes[:, 0] > 0)
        found = [
            split.pointing_game(image, [colour, shape], looking_at(region, region))
            for region in present.tolist()
            for colour in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
            for shape in ("circle", "square", "triangle", "diamond", "cross", "ring")
        ]
        assert sum(map(all, filter(None, found))) == len(present)


def test_regions_are_loaded_on_request() -> None:
    counts = {"train": 3, "val": 2, "test": 1, "heldout": 1}
    without = source(**counts)
    assert (without.region_dim, without.grid) == (0, ())
    with_regions = source(**counts, regions=True)
    assert (with_regions.region_dim, with_regions.grid) == (77, (3, 3))
    assert [len(split.regions) for split in with_regions.splits.values()] == [3, 2, 1, 1]
