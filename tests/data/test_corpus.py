from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner import arrays as module
from captioner.data.corpus import Corpus, Split, validate, with_vocabulary
from captioner.data.vocabulary import SPECIAL, Vocab, tokenize
from captioner.errors import DataError

NULL, START, END, UNK, CAT, DOG = range(6)
VOCAB = Vocab((*SPECIAL, "cat", "dog"))
CAPTIONS = [[START, CAT, END, NULL], [START, DOG, UNK, END], [START, END, NULL, NULL]]


def split(**changes):
    whole = Split(
        captions=np.array(CAPTIONS, np.int32),
        image_idxs=np.array([1, 0, 1], np.int32),
        features=np.arange(6, dtype=np.float32).reshape(2, 3),
        image_ids=("a.jpg", "b.jpg"),
    )
    return replace(whole, **changes)


def corpus(**changes):
    return Corpus(VOCAB, {"train": split(), "val": split(**changes)}, "test:1")


def captions(*row):
    """The whole split, with a planted row 1."""
    return np.array([CAPTIONS[0], row, CAPTIONS[2]])


def planted(value, dtype=np.float32, rows=2, at=(1, 2)):
    features = np.ones((rows, 3), dtype)
    features[at] = value
    return features


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("float_type", [np.float16, np.float32, np.float64])
def test_validate_returns_a_valid_corpus(dtype, float_type):
    sound = corpus(
        captions=np.array(CAPTIONS, dtype), image_idxs=np.array([1, 0, 1], dtype), features=np.ones((2, 3), float_type)
    )
    assert validate(sound, "here") is sound


BAD_ROWS = {
    "id too large": (captions(START, 6, END, NULL), "an id outside 0..5", [1, 6, 2, 0]),
    "id below zero": (captions(START, -1, END, NULL), "an id outside 0..5", [1, -1, 2, 0]),
    "no start": (captions(CAT, DOG, END, NULL), "does not begin with <START>", [4, 5, 2, 0]),
    "no end": (captions(START, CAT, DOG, CAT), "has no <END>", [1, 4, 5, 4]),
    "null for end": (captions(START, CAT, NULL, NULL), "has no <END>", [1, 4, 0, 0]),
    "a gap": (captions(START, NULL, CAT, END), "has <NULL> before <END>", [1, 0, 4, 2]),
    "words after the end": (captions(START, CAT, END, DOG), "has tokens after <END>", [1, 4, 2, 5]),
    "two ends": (captions(START, CAT, END, END), "has tokens after <END>", [1, 4, 2, 2]),
    "two starts": (captions(START, START, CAT, END), "has a second <START>", [1, 1, 4, 2]),
}
BAD = {
    **{
        name: ({"captions": rows}, f"val captions: row 1: {problem} (1 such rows): {row}")
        for name, (rows, problem, row) in BAD_ROWS.items()
    },
    "two invalid rows": (
        {"captions": np.array([CAPTIONS[0], [START, CAT, DOG, CAT], [START, DOG, DOG, CAT]])},
        "val captions: row 1: has no <END> (2 such rows): [1, 4, 5, 4]",
    ),
    "float captions": ({"captions": np.ones((3, 4), np.float32)}, "val captions: expected integers (captions, words)"),
    "flat captions": ({"captions": np.ones(3, np.int32)}, "val captions: expected integers (captions, words)"),
    "no captions": ({"captions": np.ones((0, 4), np.int32)}, "val captions: expected integers (captions, words)"),
    "no word": ({"captions": np.ones((3, 2), np.int32)}, "val captions: expected integers (captions, words)"),
    "float indices": (
        {"image_idxs": np.zeros(3)},
        "val image_idxs: expected integers (3,), one per caption, got float",
    ),
    "an index too few": ({"image_idxs": np.zeros(2, np.int32)}, "val image_idxs: expected integers (3,), one per capt"),
    "index too large": ({"image_idxs": np.array([0, 1, 2])}, "val image_idxs: row 2: expected 0..1, got 2"),
    "index below zero": ({"image_idxs": np.array([0, -1, 0])}, "val image_idxs: row 1: expected 0..1, got -1"),
    "a name too many": ({"image_ids": ("a", "b", "c")}, "val image ids: expected 2, one per row of features, got 3"),
    "a text too few": ({"texts": ("a", "b")}, "val texts: expected 3, one per caption, got 2"),
    "integer features": ({"features": np.ones((2, 3), np.int32)}, "val features: expected floats (images, feature)"),
    "another width": (
        {"features": np.ones((2, 4))},
        "expected one feature dimension in all splits, got {'train': (3,)",
    ),
    "another rank": ({"features": np.ones((2, 3, 1))}, "expected one feature dimension in all splits, got {'train'"),
    "not a number": ({"features": planted(np.nan)}, "val features: row 1: a number is not finite (NaN or infinity)"),
    "infinity": ({"features": planted(-np.inf, np.float16)}, "val features: row 1: a number is not finite"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_validate_reports_invalid_arrays(changes, message):
    with pytest.raises(DataError) as caught:
        validate(corpus(**changes), "here")
    assert str(caught.value).startswith(f"here: {message}")


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2,)])
def test_features_must_be_a_matrix_with_rows_and_columns(shape):
    alone = Corpus(VOCAB, {"train": split(features=np.ones(shape), image_ids=("a", "b")[: shape[0]])}, "test:1")
    features = f"train features: expected floats (images, feature), got float64 {shape}"
    with pytest.raises(DataError) as caught:
        validate(alone, "here")
    assert str(caught.value) == f"here: {features if shape[0] else 'train image_idxs: row 0: expected 0..-1, got 1'}"


@given(row=st.integers(0, 2048))
def test_validate_reports_the_first_invalid_row(row):
    rows = 2049
    features = planted(np.nan, rows=rows, at=(slice(row, None, 700), 1))
    ids = [""] * rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_VALUES", 1024 * features.shape[1])
        with pytest.raises(DataError, match=rf"^here: val features: row {row}: "):
            validate(corpus(features=features, image_ids=ids), "here")


def test_the_special_tokens_may_have_other_ids():
    vocab = Vocab(("cat", "<END>", "<NULL>", "<UNK>", "<START>"))
    sound = split(captions=np.array([[4, 0, 1], [4, 1, 2]]), image_idxs=np.array([0, 1]))
    validate(Corpus(vocab, {"train": sound}, "test:1"), "here")


def test_references_are_raw_captions_or_else_words_in_file_order():
    assert [split().references(image, VOCAB) for image in (0, 1)] == [["dog <UNK>"], ["cat", ""]]
    written = split(texts=("A cat.", "The dog, rarely", "\n"))
    assert [written.references(image, VOCAB) for image in (0, 1)] == [["The dog, rarely"], ["A cat.", "\n"]]


def test_captions_are_grouped_by_image():
    sparse = split(features=np.zeros((3, 2), np.float32), image_idxs=np.array([2, 0, 2]))
    assert sparse.captioned_images.tolist() == [0, 2]
    assert [sparse.caption_rows(image) for image in range(3)] == [[1], [], [0, 2]]
    images, captions = sparse.reference_ids(VOCAB)
    assert (images.tolist(), captions) == ([0, 2], [[[DOG, -1, END]], [[CAT, END], [END]]])


def test_references_of_ids_are_decoded():
    vocab = Vocab((*SPECIAL, "dog", "'s", "is", "n't"))
    whole = split(captions=vocab.encode([["dog", "'s", "dog"], [], ["is", "n't"]]), image_idxs=np.array([0, 1, 0]))
    assert whole.references(0, vocab) == ["dog's dog", "isn't"]
    assert whole.references(1, vocab) == [""]


def test_an_unknown_split_lists_the_known_ones():
    data = corpus()
    assert data.split("val") is data.splits["val"]
    assert data.feature_dim == 3
    with pytest.raises(DataError) as caught:
        data.split("test")
    assert str(caught.value) == "split 'test': not found; this data set has train, val"


def test_equal_data_have_equal_digests():
    strided = np.array(CAPTIONS, np.int32, order="F")
    assert corpus(captions=strided).digest == corpus().digest
    assert len(corpus().digest) == len(corpus().train_digest) == 64
    other = replace(corpus(), encoder="test:2", about={"seen": 1})
    assert (other.digest, other.train_digest) == (corpus().digest, corpus().train_digest)


def test_digests_depend_on_the_data():
    other = np.array(CAPTIONS, np.int32)
    other[0, 1] = DOG
    changes = (
        {},
        {"captions": other},
        {"image_idxs": np.array([0, 0, 1], np.int32)},
        {"features": np.ones((3, 3), np.float32)},
        {"features": 2 * split().features},
        {"texts": ["a dog.", "b", "c"]},
    )
    assert len({corpus(**change).digest for change in changes}) == len(changes)
    trained = [replace(corpus(), splits={"train": split(**change)}) for change in changes]
    trained.append(replace(trained[0], vocab=Vocab((*SPECIAL, "dog", "cat"))))
    assert len({data.train_digest for data in trained}) == len(trained)
    regions = replace(trained[0], splits={"train": split(regions=np.ones((2, 2, 2, 5), np.float32))})
    assert len({data.digest for data in (corpus(), trained[0], regions)}) == 3
    assert corpus().train_digest == trained[0].train_digest == regions.train_digest, "not of other splits or regions"
    assert replace(corpus(), splits={"val": split()}).train_digest == ""


TEXTS = ["A black DOG, runs!", "a dog sits", "the cat's bowl"]


def of_texts(vocab, texts=TEXTS, longest=9):
    """A corpus whose captions are encoded with a vocabulary, at most `longest` words each."""
    encoded = vocab.encode([tokenize(text)[:longest] for text in TEXTS])
    part = Split(encoded, np.arange(3, dtype=np.int32), np.ones((3, 2), np.float32), list("abc"), texts=texts)
    return Corpus(vocab, {"train": part}, "scenes")


@pytest.mark.parametrize("longest", [9, 3])
def test_another_vocabulary_encodes_raw_captions_as_if_they_were_prepared_with_it(longest):
    """Special tokens may have other ids; words that the data set does not have are read from the raw captions."""
    few, many = Vocab((*SPECIAL, "dog", "a", "zebra")), Vocab(("the", "runs", "cat", *SPECIAL[::-1], "a", "dog"))
    got = with_vocabulary(of_texts(few, longest=longest), many)
    expected = of_texts(many, longest=longest)
    np.testing.assert_array_equal(got.split("train").captions, expected.split("train").captions)
    assert many.unk in got.split("train").captions
    assert got.digest == expected.digest


@pytest.mark.parametrize("texts", [None, ["other words are here", "a dog", "the cat's bowl"]])
def test_words_stay_unknown_without_raw_captions_of_the_same_tokens(texts):
    few, many = Vocab((*SPECIAL, "dog", "a")), Vocab((*SPECIAL, "a", "dog", "the", "here", "sits"))
    got = with_vocabulary(of_texts(few, texts), many).split("train").captions
    words = [["a", "<UNK>", "dog", "<UNK>"], ["a", "dog", "<UNK>"], ["the" if texts else "<UNK>", *["<UNK>"] * 3]]
    np.testing.assert_array_equal(got, many.encode(words))
