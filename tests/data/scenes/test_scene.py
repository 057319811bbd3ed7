from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.scenes.scene import COLOURS, COMBINATIONS, HELD_OUT, SHAPES, SPLITS, sample_scene, split_of
from captioner.data.scenes.truth import MIN_DISTANCE

seeds = st.integers(0, 2**32)
splits = st.sampled_from(SPLITS)


def sampled_scenes(split, count=400):
    return [sample_scene(np.random.default_rng((split, i)), SPLITS[split]) for i in range(count)]


def pairs(scenes):
    return {(t.colour, t.shape) for scene in scenes for t in scene.objects}


@given(seeds, splits)
def test_a_scene_belongs_to_its_split_and_has_one_description(seed, split):
    scene = sample_scene(np.random.default_rng(seed), split)
    assert split_of(scene) == split
    assert 1 <= len(scene.objects) <= 3
    places = [(t.row, t.column) for t in scene.objects]
    assert places == sorted(set(places))
    assert len(pairs([scene])) == len(scene.objects)
    for one, other in combinations(scene.objects, 2):
        for same, gap in ((one.column == other.column, one.x - other.x), (one.row == other.row, one.y - other.y)):
            assert abs(gap) < MIN_DISTANCE / 1.5 if same else abs(gap) > MIN_DISTANCE * 1.5


@pytest.mark.parametrize("split", range(3))
def test_other_splits_contain_no_held_out_combination(split):
    assert not pairs(sampled_scenes(split)) & set(HELD_OUT)


def test_heldout_scenes_cover_all_held_out_combinations():
    scenes = sampled_scenes(SPLITS.index("heldout"))
    assert all(pairs([scene]) & set(HELD_OUT) for scene in scenes)
    assert set(HELD_OUT) <= pairs(scenes)


def test_train_covers_all_other_combinations_and_every_colour_and_shape():
    assert pairs(sampled_scenes(SPLITS.index("train"))) == set(COMBINATIONS)
    assert {shape for _, shape in COMBINATIONS} == set(SHAPES)
    assert {colour for colour, _ in COMBINATIONS} == set(COLOURS)
    assert len(COMBINATIONS) + len(HELD_OUT) == len(SHAPES) * len(COLOURS)


def test_splits_share_no_description():
    descriptions = [{scene.description() for scene in sampled_scenes(split)} for split in range(len(SPLITS))]
    assert not any(a & b for a, b in combinations(descriptions, 2))


def test_one_two_and_three_objects_are_equally_frequent():
    counts = np.bincount([len(scene.objects) for scene in sampled_scenes(0, 1200)], minlength=4)
    assert counts[0] == 0
    assert counts[1:].min() > 300
