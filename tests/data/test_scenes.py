"""Generated scenes as a data set, and their encoder."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from captioner import data
from captioner.data.corpus import validate
from captioner.data.scene import (
    CELL,
    COLOURS,
    HELD_OUT,
    PARAPHRASES,
    SHAPES,
    SIDE,
    SIZES,
    SPLITS,
    WORDS,
    Scene,
    SceneObject,
    render,
    sample_scene,
)
from captioner.data.scenes import (
    BATCH,
    FEATURES,
    GAIN,
    GRID,
    MAX_OBJECTS,
    encode_regions,
    example,
    first_objects,
    make_split,
    pointing_game,
    scenes,
)
from captioner.data.vocabulary import Vocab


def encode(images):
    return first_objects(encode_regions(images))


COUNTS = {"train": 40, "val": 12, "test": 11, "heldout": 10}


@pytest.fixture(scope="module")
def corpus():
    return scenes(**COUNTS)


def test_the_corpus_is_valid_and_has_the_requested_sizes(corpus):
    assert validate(corpus, "scenes") is corpus
    assert {name: len(split.image_ids) for name, split in corpus.splits.items()} == COUNTS
    assert set(corpus.vocab.words) >= set(WORDS)


@pytest.mark.parametrize("name", SPLITS)
def test_captions_features_names_and_truth_match_the_image(corpus, name):
    split = corpus.split(name)
    assert split.image_idxs.tolist() == np.arange(COUNTS[name]).repeat(PARAPHRASES).tolist()
    index = COUNTS[name] - 1
    _, picture, captions = example(0, name, index)
    assert split.image_ids[index] == f"{name}-{index:05d}"
    assert np.allclose(split.features[index], encode(picture[None])[0], atol=1e-5)
    assert split.references(index, corpus.vocab) == [" ".join(words) for words in captions]
    assert np.array_equal(split.picture(index), picture)
    assert len(captions) == PARAPHRASES
    for words in captions:
        assert split.is_correct(index, words)
        assert not split.is_correct(index, words[:-1])
    assert not all(split.is_correct(i, captions[0]) for i in range(COUNTS[name]))


def test_the_data_set_depends_only_on_the_seed(corpus):
    again, other = scenes(**COUNTS, regions=True), scenes(seed=1, **COUNTS)
    assert (corpus.region_dim, corpus.grid) == (0, ())
    assert (again.region_dim, again.grid) == (77, (3, 3))
    assert scenes(**COUNTS).digest == corpus.digest
    assert again.train_digest == corpus.train_digest
    assert other.digest != corpus.digest
    for name, split in corpus.splits.items():
        assert np.array_equal(split.features, again.split(name).features)
        assert not np.array_equal(split.features, other.split(name).features)
    assert other.vocab == corpus.vocab


def test_enlarging_a_split_keeps_its_prefix_and_the_other_splits(corpus):
    larger = scenes(**{**COUNTS, "train": 50})
    rows = COUNTS["train"] * PARAPHRASES
    assert [larger.vocab.decode(row) for row in larger.split("train").captions[:rows]] == [
        corpus.vocab.decode(row) for row in corpus.split("train").captions
    ]
    assert np.array_equal(larger.split("val").captions, corpus.split("val").captions)


def test_pictures_are_encoded_a_batch_at_a_time(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        data.scenes, "encode_regions", lambda pictures: sizes.append(len(pictures)) or encode_regions(pictures)
    )
    features = scenes(train=2 * BATCH + 5, val=1, test=1, heldout=1).split("train").features
    assert sizes[:3] == [BATCH, BATCH, 5]
    pictures = np.stack([example(0, "train", index).picture for index in range(2 * BATCH + 5)])
    assert np.array_equal(features, encode(pictures))


def test_splits_use_independent_random_streams(corpus):
    first = [example(0, name, 0).picture for name in SPLITS]
    assert not any(np.array_equal(first[i], first[j]) for i in range(4) for j in range(i))


def test_examples_are_identical_across_machines():
    scene, picture, captions = example(0, "val", 12)
    assert scene.description() == "small white ring 0 1; large red triangle 0 2; small green square 1 0"
    assert picture.mean() == pytest.approx(35.046, abs=0.01)
    expected = "a small white ring left of a large red triangle with a small green square on the left"
    assert " ".join(captions[0]) == expected


# --- the pointing game and regions


RED = SceneObject("circle", "red", "large", 0.5 * CELL, 0.5 * CELL)
BLUE = SceneObject("ring", "blue", "small", 1.5 * CELL, 2.5 * CELL)
SCENE = Scene((RED, BLUE))
CAPTION = ["a", "large", "red", "circle", "above", "a", "small", "blue", "ring"]


def looking_at(*regions: int) -> np.ndarray:
    """Weights of words that each look at one region, and more at the sentinel."""
    weights = np.zeros((len(regions), 10))
    weights[np.arange(len(regions)), regions], weights[:, 9] = 0.4, 0.6
    return weights


def test_colours_and_shapes_point_at_their_objects() -> None:
    assert pointing_game(SCENE, CAPTION, looking_at(8, 8, 0, 0, 8, 8, 8, 7, 7)) == [True] * 4
    assert pointing_game(SCENE, CAPTION, looking_at(8, 8, 0, 7, 8, 8, 8, 0, 0)) == [True, False, False, False]


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
        hits = [
            split.pointing_game(image, [colour, shape], looking_at(region, region))
            for region in present.tolist()
            for colour in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
            for shape in ("circle", "square", "triangle", "diamond", "cross", "ring")
        ]
        assert sum(map(all, filter(None, hits))) == len(present)


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
