"""The source cs231n reads a data set in the assignment's layout, and rejects invalid files."""

import json
from importlib import import_module

import h5py
import numpy as np
import pytest

from captioner.data.cs231n import cs231n, read_folder
from captioner.errors import DataError
from captioner.files.hdf5 import StoredArray

WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "cat"]
CAPTIONS = {
    "train_captions": np.array([[1, 4, 5, 2], [1, 5, 2, 0], [1, 3, 2, 0]], np.int32),
    "train_image_idxs": np.array([0, 1, 1], np.int32),
    "val_captions": np.array([[1, 4, 3, 2]], np.int32),
    "val_image_idxs": np.array([2], np.int32),
}
FEATURES = {
    "train2014_vgg16_fc7_pca.h5": np.arange(8, dtype=np.float32).reshape(2, 4),
    "val2014_vgg16_fc7_pca.h5": np.arange(12, dtype=np.float32).reshape(3, 4),
}


def write_h5(path, options=(), **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values, **dict(options))


@pytest.fixture
def cs231n_folder(tmp_path):
    """The folder of the data set, to be changed."""
    write_h5(tmp_path / "coco2014_captions.h5", **CAPTIONS)
    for name, values in FEATURES.items():
        write_h5(tmp_path / name, features=values)
    vocab = {"idx_to_word": WORDS, "word_to_idx": {word: i for i, word in enumerate(WORDS)}}
    (tmp_path / "coco2014_vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "train2014_urls.txt").write_text("http://a/0.jpg\r\nhttp://a/1.jpg\r\n")
    (tmp_path / "val2014_urls.txt").write_text("http://b/0.jpg\nhttp://b/1.jpg\nhttp://b/2.jpg")
    return tmp_path


def change(folder, **captions):
    """Replace arrays of the captions."""
    write_h5(folder / "coco2014_captions.h5", **{**CAPTIONS, **captions})


def refusal(folder, **options):
    """Return the error of reading the folder, with names relative to it."""
    with pytest.raises(DataError) as caught:
        cs231n(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(f"{folder}/", "").replace(str(folder), "here")


FILES = "coco2014_captions.h5, coco2014_vocab.json, train2014_vgg16_fc7{0}.h5, val2014_vgg16_fc7{0}.h5"


def test_the_folder_is_read_as_a_corpus(cs231n_folder):
    corpus = cs231n(str(cs231n_folder))
    assert corpus.vocab.words == tuple(WORDS)
    assert corpus.encoder == "cs231n:vgg16_fc7_pca"
    assert list(corpus.splits) == ["train", "val"]
    for name, split in corpus.splits.items():
        for array in ("captions", "image_idxs"):
            got = getattr(split, array)
            assert got.dtype == np.int32
            assert np.array_equal(got, CAPTIONS[f"{name}_{array}"])
        assert np.array_equal(split.features[:], FEATURES[f"{name}2014_vgg16_fc7_pca.h5"])
    assert corpus.splits["train"].image_ids == ["http://a/0.jpg", "http://a/1.jpg"]
    assert corpus.splits["val"].image_ids == ["http://b/0.jpg", "http://b/1.jpg", "http://b/2.jpg"]


def test_the_folder_is_read_as_the_assignment_dict(cs231n_folder):
    data = read_folder(cs231n_folder)
    assert sorted(data) == sorted(
        [*CAPTIONS, "train_features", "train_urls", "val_features", "val_urls", "idx_to_word", "word_to_idx"]
    )
    for name, values in CAPTIONS.items():
        assert np.array_equal(data[name], values)
    assert np.array_equal(data["train_features"], FEATURES["train2014_vgg16_fc7_pca.h5"])
    assert data["val_urls"][np.array([2, 0])].tolist() == ["http://b/2.jpg", "http://b/0.jpg"]
    assert data["idx_to_word"] == WORDS
    assert data["word_to_idx"] == {word: i for i, word in enumerate(WORDS)}


def test_without_urls_an_image_is_named_by_its_row(cs231n_folder):
    (cs231n_folder / "train2014_urls.txt").unlink()
    corpus = cs231n(cs231n_folder)
    assert corpus.splits["train"].image_ids == ["train-00000", "train-00001"]
    assert corpus.splits["val"].image_ids[0] == "http://b/0.jpg"


@pytest.mark.parametrize(("dtype", "options"), [("<f2", {}), (">f4", {"chunks": (8, 64), "compression": "gzip"})])
def test_unreduced_features_of_any_precision_and_storage(cs231n_folder, dtype, options):
    features = np.random.default_rng(0).standard_normal((500, 1280)).astype(dtype)
    for split in ("train", "val"):
        write_h5(cs231n_folder / f"{split}2014_vgg16_fc7.h5", options, features=features)
        (cs231n_folder / f"{split}2014_urls.txt").unlink()
    corpus = cs231n(cs231n_folder, pca=False, memory_mib=1)
    assert corpus.encoder == "cs231n:vgg16_fc7"
    got = corpus.splits["val"].features
    assert isinstance(got, StoredArray)
    assert (got.shape, got.dtype) == ((500, 1280), np.dtype(dtype).newbyteorder("="))
    assert np.array_equal(got[[499, 2, 2]], features[[499, 2, 2]])


def test_ids_outside_int32_are_reported(cs231n_folder):
    value = (1 << 32) + 4
    change(cs231n_folder, val_captions=np.array([[1, value, 3, 2]]))
    assert refusal(cs231n_folder).endswith(f"an id outside 0..5 (1 such rows): [1, {value}, 3, 2]")


HOLDS = f"expected a folder with {FILES.format('_pca')}"


@pytest.mark.parametrize("root", [None, __file__])
def test_an_invalid_folder_error_lists_the_expected_files(root):
    with pytest.raises(DataError) as caught:
        cs231n(root)
    assert str(caught.value) == f"cs231n: {HOLDS}, got {root}, which is not a folder"


def test_a_missing_file_is_named(cs231n_folder):
    name = "coco2014_vocab.json"
    (cs231n_folder / name).unlink()
    assert refusal(cs231n_folder) == f"here: {HOLDS}; missing: {name}"


def test_features_of_the_other_kind_are_pointed_out(cs231n_folder):
    missing = "train2014_vgg16_fc7.h5, val2014_vgg16_fc7.h5"
    assert refusal(cs231n_folder, pca=False) == (
        f"here: expected a folder with {FILES.format('')}; missing: {missing} "
        "(features vgg16_fc7_pca found: try -o data.cs231n.pca=true)"
    )


def test_captions_and_images_must_match(cs231n_folder):
    change(cs231n_folder, train_image_idxs=np.array([0, 2, 1]))
    assert refusal(cs231n_folder) == "here: train image_idxs: row 1: expected 0..1, got 2"
    change(cs231n_folder, val_captions=np.ones((1, 4), np.float32))
    assert refusal(cs231n_folder).startswith("coco2014_captions.h5: dataset 'val_captions': expected integers ")


def test_captions_above_the_limit_are_rejected_before_reading(cs231n_folder, monkeypatch):
    monkeypatch.setattr(import_module("captioner.data.cs231n"), "CAPTIONS_LIMIT", 47)
    assert refusal(cs231n_folder) == "coco2014_captions.h5: dataset 'train_captions': expected at most 47 bytes, got 48"


def test_images_of_one_url_have_different_names(cs231n_folder):
    (cs231n_folder / "val2014_urls.txt").write_text("http://b/0.jpg\nhttp://b/1.jpg\nhttp://b/0.jpg\n")
    names = ["http://b/0.jpg", "http://b/1.jpg", "http://b/0.jpg#val-00002"]
    assert cs231n(cs231n_folder).split("val").image_ids == names


def test_there_must_be_one_url_per_row(cs231n_folder):
    urls = cs231n_folder / "val2014_urls.txt"
    urls.write_text("http://b/0.jpg\nhttp://b/1.jpg\n")
    assert refusal(cs231n_folder) == "val2014_urls.txt: expected 3 lines, one per row of the features, got 2"


# --- the vocabulary


WORD = "vocabulary: word 6: expected a printable word without spaces, got "
LIST = "expected an object with the list idx_to_word, got "
BAD_VOCABS = {
    "half a letter": ({"idx_to_word": [*WORDS, "\ud800"]}, f"{WORD}'\\ud800'"),
    "a list": (WORDS[:1], f"{LIST}['<NULL>']"),
    "a number": ({"idx_to_word": [7]}, "idx_to_word[0]: expected a word, got 7"),
    "two words": ({"idx_to_word": [*WORDS, "a b"]}, f"{WORD}'a b'"),
    "a word twice": ({"idx_to_word": [*WORDS, "cat"]}, "vocabulary: duplicate word 'cat'; each word needs one id"),
}


@pytest.mark.parametrize(("content", "problem"), BAD_VOCABS.values(), ids=BAD_VOCABS)
def test_an_invalid_vocabulary_is_rejected(cs231n_folder, content, problem):
    (cs231n_folder / "coco2014_vocab.json").write_text(json.dumps(content))
    assert refusal(cs231n_folder) == f"coco2014_vocab.json: {problem}"
    (cs231n_folder / "coco2014_vocab.json").write_text("[" * 100_000)
    assert refusal(cs231n_folder).startswith("coco2014_vocab.json: invalid JSON: ")
