import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from captioner.data.scene import COLOURS, HELD_OUT, SHAPES, SIDE, SIZES, render, sample_scene
from captioner.data.scenes import FEATURES, GAIN, GRID, MAX_OBJECTS, encode

CODES = FEATURES // MAX_OBJECTS
PRESENT, PLACE = 0, slice(1, 1 + GRID * GRID)


def examples(split, count, seed):
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng, split) for _ in range(count)]
    return scenes, np.stack([render(scene, rng) for scene in scenes])


def glimpses(images):
    return encode(images).reshape(len(images), MAX_OBJECTS, CODES)


@given(arrays(np.uint8, (2, SIDE, SIDE, 3), fill=st.integers(0, 255)))
def test_features_are_finite_and_between_0_and_the_gain(images):
    features = encode(images)
    assert features.shape == (2, FEATURES)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert features.min() >= 0
    assert features.max() <= GAIN * 1.0001


def test_objects_are_encoded_in_reading_order():
    scenes, images = examples("heldout", 200, seed=1)
    for scene, seen in zip(scenes, glimpses(images), strict=True):
        assert (seen[:, PRESENT] > 0).sum() == len(scene.objects)
        places = seen[: len(scene.objects), PLACE].argmax(axis=1).tolist()
        assert places == [t.row * GRID + t.column for t in scene.objects]


def test_a_linear_map_generalizes_to_held_out_combinations():
    def rows(split, seed):
        scenes, images = examples(split, 400, seed)
        seen = glimpses(images)  # a glimpse for every obj, in the same order
        objects = [obj for scene in scenes for obj in scene.objects]
        return objects, seen[seen[:, :, PRESENT] > 0]

    (objects, codes), (unseen, unseen_codes) = rows("train", 2), rows("heldout", 3)
    held_out = [(obj.colour, obj.shape) in HELD_OUT for obj in unseen]
    assert sum(held_out) > 300
    for attribute, values in {"shape": SHAPES, "colour": COLOURS, "size": SIZES}.items():
        wanted = np.eye(len(values))[[values.index(getattr(obj, attribute)) for obj in objects]]
        weights = np.linalg.lstsq(codes, wanted, rcond=1e-4)[0]
        guessed = (unseen_codes @ weights).argmax(axis=1)
        right = [values[place] == getattr(obj, attribute) for place, obj in zip(guessed, unseen, strict=True)]
        assert np.mean(np.array(right)[held_out]) > 0.97, attribute
