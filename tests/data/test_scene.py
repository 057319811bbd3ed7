"""Scenes: their splits, pictures and captions, and which captions are fully correct."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from captioner.data.scene import (
    COLOURS,
    COMBINATIONS,
    COUNTS,
    HELD_OUT,
    MIN_DISTANCE,
    PARAPHRASES,
    PLACES,
    RELATIONS,
    RGB,
    SHAPES,
    SIDE,
    SIZES,
    SPLITS,
    WORDS,
    Scene,
    SceneObject,
    is_correct,
    paraphrases,
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


@st.composite
def scenes(draw):
    return sample_scene(np.random.default_rng(draw(seeds)), draw(st.sampled_from(SPLITS)))


@given(scenes(), seeds)
def test_a_scene_has_five_distinct_true_captions_within_the_vocabulary(scene, seed):
    captions = paraphrases(scene, np.random.default_rng(seed))
    assert len({tuple(words) for words in captions}) == PARAPHRASES
    for words in captions:
        assert is_correct(scene, words), " ".join(words)
        assert set(words) <= set(WORDS)
        assert len(words) <= 21


def test_the_vocabulary_is_small_and_fully_used():
    rng = np.random.default_rng(0)
    used = {w for _ in range(300) for words in paraphrases(sample_scene(rng, "train"), rng) for w in words}
    assert used == set(WORDS)
    assert len(WORDS) < 60


RING = SceneObject("ring", "red", "small", 10, 11)
CROSS = SceneObject("cross", "blue", "large", 53, 31)
DISC = SceneObject("circle", "red", "small", 31, 54)
ONE, TWO, THREE = Scene((RING,)), Scene((RING, CROSS)), Scene((RING, CROSS, DISC))
R, C, D = "a small red ring", "a large blue cross", "a small red circle"


@st.composite
def true_captions(draw):
    """A scene and a caption that is true of it."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scene = sample_scene(rng, draw(st.sampled_from(SPLITS)))
    return scene, draw(st.sampled_from(paraphrases(scene, rng)))


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (ONE, f"{R} in the top left"),
        (ONE, f"on the left there is {R}"),
        (ONE, f"nothing but {R}"),
        (TWO, f"{R} and {C}"),
        (TWO, f"{C} and {R}"),
        (TWO, f"the picture shows {C} right of {R}"),
        (TWO, f"two shapes {C} and {R}"),
        (TWO, f"{C} on the right and {R} at the top"),
        (THREE, f"there are three shapes {D} {R} and {C}"),
        (THREE, f"{C} is right of {D} and below {R}"),
        (THREE, f"there is {D} below {C} with {R} in the top left"),
    ],
)
def test_caption_is_true(scene, caption):
    assert is_correct(scene, caption.split())


@pytest.mark.parametrize(
    ("scene", "caption", "why"),
    [
        (ONE, "", "empty"),
        (ONE, "a red ring", "no size"),
        (ONE, "a small ring", "no colour"),
        (ONE, "small red ring", "no article"),
        (ONE, f"{R} and {C}", "one too many"),
        (ONE, f"{R} in the centre", "elsewhere"),
        (ONE, f"{R} in the top left in the top left", "word salad"),
        (ONE, f"<UNK> {R}", "a word that means nothing"),
        (TWO, f"three shapes {R} and {C}", "a wrong count"),
        (TWO, f"{C} is right of {C}", "one obj twice"),
        (THREE, f"{R} and {C}", "two of three"),
        (THREE, f"{R} above {C} and {D}", "can be read in two ways"),
        (THREE, f"{D} is below {R} and right of {C}", "the second relation"),
        (THREE, f"{R} above {D} with {C} on the left", "elsewhere"),
    ],
)
def test_caption_is_false(scene, caption, why):
    assert not is_correct(scene, caption.split()), why


def test_similar_objects_are_distinguished_by_place():
    twins = Scene((RING, SceneObject("ring", "red", "small", 53, 54)))
    assert is_correct(twins, f"{R} in the bottom right and {R} in the top left".split())
    assert is_correct(twins, f"{R} below {R}".split())
    assert not is_correct(twins, f"{R} in the top left and {R} in the top left".split())


@given(true_captions(), st.data())
def test_a_wrong_attribute_makes_a_caption_false(case, data):
    scene, words = case
    table = {word: group for group in (SIZES, COLOURS, SHAPES) for word in group}
    at = data.draw(st.sampled_from([i for i, word in enumerate(words) if word in table]))
    wrong = data.draw(st.sampled_from([word for word in table[words[at]] if word != words[at]]))
    assert not is_correct(scene, [*words[:at], wrong, *words[at + 1 :]])


@given(true_captions(), true_captions())
def test_a_caption_is_false_of_a_scene_with_other_objects(case, other):
    scene, words = case
    assume(
        {(t.size, t.colour, t.shape) for t in scene.objects} != {(t.size, t.colour, t.shape) for t in other[0].objects}
    )
    assert not is_correct(other[0], words)


SWAPS = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"} | {
    "two shapes": "three shapes",
    "three shapes": "two shapes",
}


@given(true_captions(), st.data())
def test_a_wrong_relation_or_count_makes_a_caption_false(case, data):
    assert SWAPS.keys() == RELATIONS.keys() | COUNTS.keys()
    scene, words = case
    text = " ".join(words)
    claimed = [phrase for phrase in SWAPS if phrase in text]
    assume(claimed)
    phrase = data.draw(st.sampled_from(claimed))
    assert not is_correct(scene, text.replace(phrase, SWAPS[phrase], 1).split())


ROW, COLUMN = range(3), range(3)
AT = {
    "in the top left": {(0, 0)},
    "in the top right": {(0, 2)},
    "in the bottom left": {(2, 0)},
    "in the bottom right": {(2, 2)},
    "in the centre": {(1, 1)},
    "at the top": {(0, column) for column in COLUMN},
    "at the bottom": {(2, column) for column in COLUMN},
    "on the left": {(row, 0) for row in ROW},
    "on the right": {(row, 2) for row in ROW},
}


def name(obj):
    return f"a {obj.size} {obj.colour} {obj.shape}"


def object_pairs():
    return true_captions().map(lambda case: case[0].objects[:2]).filter(lambda objects: len(objects) == 2)


@given(object_pairs(), st.sampled_from(sorted(AT)), st.sampled_from(sorted(AT)))
def test_places_are_true_only_in_their_part_of_the_image(objects, here, there):
    assert AT.keys() == PLACES.keys()
    first, other = objects
    caption = f"{name(first)} {here} and {name(other)} {there}"
    expected = (first.row, first.column) in AT[here] and (other.row, other.column) in AT[there]
    assert is_correct(Scene(objects), caption.split()) == expected
