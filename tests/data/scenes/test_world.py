from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.scenes.truth import APART
from captioner.data.scenes.world import COLOURS, SEEN, SHAPES, SPLITS, UNSEEN, draw_scene, split_of

seeds = st.integers(0, 2**32)
splits = st.sampled_from(SPLITS)


def drawn(split, count=400):
    return [draw_scene(np.random.default_rng((split, i)), SPLITS[split]) for i in range(count)]


def pairs(scenes):
    return {(t.colour, t.shape) for scene in scenes for t in scene.things}


@given(seeds, splits)
def test_a_scene_belongs_to_its_split_and_can_be_told_in_one_way(seed, split):
    scene = draw_scene(np.random.default_rng(seed), split)
    assert split_of(scene) == split
    assert 1 <= len(scene.things) <= 3
    places = [(t.row, t.column) for t in scene.things]
    assert places == sorted(set(places))
    assert len(pairs([scene])) == len(scene.things)
    for one, other in combinations(scene.things, 2):
        for same, gap in ((one.column == other.column, one.x - other.x), (one.row == other.row, one.y - other.y)):
            assert abs(gap) < APART / 1.5 if same else abs(gap) > APART * 1.5


@pytest.mark.parametrize("split", range(3))
def test_no_scene_outside_heldout_shows_a_combination_that_is_held_out(split):
    assert not pairs(drawn(split)) & set(UNSEEN)


def test_every_heldout_scene_shows_one_and_all_are_shown():
    scenes = drawn(SPLITS.index("heldout"))
    assert all(pairs([scene]) & set(UNSEEN) for scene in scenes)
    assert set(UNSEEN) <= pairs(scenes)


def test_train_shows_all_other_combinations_and_every_colour_and_shape():
    assert pairs(drawn(SPLITS.index("train"))) == set(SEEN)
    assert {shape for _, shape in SEEN} == set(SHAPES)
    assert {colour for colour, _ in SEEN} == set(COLOURS)
    assert len(SEEN) + len(UNSEEN) == len(SHAPES) * len(COLOURS)


def test_splits_share_no_description():
    told = [{scene.description() for scene in drawn(split)} for split in range(len(SPLITS))]
    assert not any(a & b for a, b in combinations(told, 2))


def test_scenes_of_one_two_and_three_things_are_equally_frequent():
    counts = np.bincount([len(scene.things) for scene in drawn(0, 1200)], minlength=4)
    assert counts[0] == 0
    assert counts[1:].min() > 300
