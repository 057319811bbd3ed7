"""A small data set in the layout of CS231n, and the error of reading it."""

import json

import h5py
import numpy as np
import pytest

from captioner.data.cs231n import cs231n
from captioner.errors import DataError

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
