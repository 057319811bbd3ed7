from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.scene import (
    COLOURS,
    COMBINATIONS,
    HELD_OUT,
    MIN_DISTANCE,
    RGB,
    SHAPES,
    SIDE,
    SIZES,
    SPLITS,
    Scene,
    SceneObject,
    render,
    sample_scene,
    split_of,
)

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
    for a, b in combinations(scene.objects, 2):
        for same, gap in ((a.column == b.column, a.x - b.x), (a.row == b.row, a.y - b.y)):
            if same:
                assert abs(gap) < MIN_DISTANCE / 1.5
            else:
                assert abs(gap) > MIN_DISTANCE * 1.5


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


objects = st.builds(
    SceneObject,
    shape=st.sampled_from(SHAPES),
    colour=st.sampled_from(COLOURS),
    size=st.sampled_from(SIZES),
    x=st.floats(0, SIDE),
    y=st.floats(0, SIDE),
)


def rendered(*objects, seed=0):
    return render(Scene(objects), np.random.default_rng(seed)).astype(float)


def ink(picture):
    """Where a picture differs from its ground."""
    return abs(picture - np.median(picture, axis=(0, 1))).max(axis=2) > 60


@given(objects, st.integers(0, 2**32))
def test_rendering_is_uint8_and_deterministic_in_scene_and_seed(obj, seed):
    picture = render(Scene((obj,)), np.random.default_rng(seed))
    assert picture.shape == (SIDE, SIDE, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, render(Scene((obj,)), np.random.default_rng(seed)))
    assert (picture != render(Scene((obj,)), np.random.default_rng(seed + 1))).mean() > 0.5


@pytest.mark.parametrize("colour", COLOURS)
def test_each_paint_is_nearest_to_its_named_colour(colour):
    middle = rendered(SceneObject("square", colour, "large", 20, 40))[37:44, 17:24].mean(axis=(0, 1))
    assert min(RGB, key=lambda name: np.linalg.norm(middle - RGB[name])) == colour


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("x", "y"), [(12, 40), (50, 15)])
def test_shapes_are_drawn_at_their_position_and_size(shape, x, y):
    areas = {}
    for size in SIZES:
        rows, columns = np.nonzero(ink(rendered(SceneObject(shape, "yellow", size, x, y))))
        assert abs((columns.min() + columns.max() + 1) / 2 - x) <= 1
        assert abs((rows.min() + rows.max() + 1) / 2 - y) <= 1.5
        areas[size] = len(rows)
    assert areas["large"] > 1.7 * areas["small"]


def test_shapes_have_their_named_outlines():
    on = {shape: ink(rendered(SceneObject(shape, "white", "large", 32, 32))) for shape in SHAPES}
    middle, corner, edge, tip = (32, 32), (25, 25), (32, 26), (25, 32)
    expected = {  # middle, upper left corner, left edge, top
        "circle": (True, False, True, True),
        "square": (True, True, True, True),
        "diamond": (True, False, True, True),
        "cross": (True, False, True, True),
        "ring": (False, False, True, True),
        "triangle": (True, False, False, True),
    }
    assert {s: tuple(bool(on[s][at]) for at in (middle, corner, edge, tip)) for s in SHAPES} == expected
    filled = {shape: on[shape][25:39, 25:39].mean() for shape in ("circle", "diamond", "cross")}
    assert filled["circle"] > filled["diamond"] > filled["cross"]
    upper, lower = on["triangle"][24:32].sum(), on["triangle"][32:40].sum()
    assert upper < lower
