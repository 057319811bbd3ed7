import numpy as np
import pytest

from captioner import data
from captioner.data.corpus import validate
from captioner.data.scenes import example, scenes
from captioner.data.scenes.encoding import BATCH, encode, encode_regions
from captioner.data.scenes.grammar import PARAPHRASES, WORDS
from captioner.data.scenes.scene import SPLITS

SIZES = {"train": 40, "val": 12, "test": 11, "heldout": 10}


@pytest.fixture(scope="module")
def corpus():
    return scenes(**SIZES)


def test_the_corpus_is_valid_and_has_the_requested_sizes(corpus):
    assert validate(corpus, "scenes") is corpus
    assert {name: len(split.image_ids) for name, split in corpus.splits.items()} == SIZES
    assert set(corpus.vocab.words) >= set(WORDS)


@pytest.mark.parametrize("name", SPLITS)
def test_captions_features_names_and_truth_match_the_image(corpus, name):
    split = corpus.split(name)
    assert split.image_idxs.tolist() == np.arange(SIZES[name]).repeat(PARAPHRASES).tolist()
    index = SIZES[name] - 1
    _, picture, captions = example(0, name, index)
    assert split.image_ids[index] == f"{name}-{index:05d}"
    assert np.allclose(split.features[index], encode(picture[None])[0], atol=1e-5)
    assert split.references(index, corpus.vocab) == [" ".join(words) for words in captions]
    assert np.array_equal(split.picture(index), picture)
    assert len(captions) == PARAPHRASES
    for words in captions:
        assert split.is_true(index, words)
        assert not split.is_true(index, words[:-1])
    assert not all(split.is_true(i, captions[0]) for i in range(SIZES[name]))


def test_the_data_set_depends_only_on_the_seed(corpus):
    again, other = scenes(**SIZES), scenes(seed=1, **SIZES)
    assert again.fingerprint() == corpus.fingerprint()
    assert other.fingerprint() != corpus.fingerprint()
    for name, split in corpus.splits.items():
        assert np.array_equal(split.features, again.split(name).features)
        assert not np.array_equal(split.features, other.split(name).features)
    assert other.vocab == corpus.vocab


def test_enlarging_a_split_keeps_its_prefix_and_the_other_splits(corpus):
    larger = scenes(**{**SIZES, "train": 50})
    rows = SIZES["train"] * PARAPHRASES
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
