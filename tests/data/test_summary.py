"""Summaries of data sets, and near-duplicates across splits."""

import json

import numpy as np
import pytest
from prepared_sets import captioned_split

from captioner import arrays as blocks_module
from captioner.data.corpus import Corpus
from captioner.data.near_duplicates import MIN_WIDTH, near_duplicates
from captioner.data.summary import summarize
from captioner.data.vocabulary import Vocab

TRAIN = [["a", "dog"], ["a", "cat"], ["a"], []]


@pytest.fixture
def corpus():
    vocab = Vocab.build(TRAIN)
    return Corpus(
        vocab,
        {
            "train": captioned_split(vocab, TRAIN, [[1, 2, 3], [4, 5, 6], [1, 2, 3]], "t"),
            "val": captioned_split(vocab, [["a", "cow", "cow"], ["cat", "dog"]], [[4, 5, 6], [1, 2, 3.5]], "v"),
            "test": captioned_split(vocab, [["a", "b", "c", "d"]], [[4, 5, 6]], "e"),
        },
        "some:encoder",
    )


def test_summary(corpus):
    assert summarize(corpus) == {
        "encoder": "some:encoder",
        "feature": 3,
        "dtype": "float16",
        "vocabulary": 3,
        "splits": {
            "train": {
                "images": 3, "captions": 4, "words": 5, "shortest": 0, "mean": 1.25, "longest": 2, "unk": 0.0,
            },
            "val": {"images": 2, "captions": 2, "words": 5, "shortest": 2, "mean": 2.5, "longest": 3, "unk": 0.4},
            "test": {"images": 1, "captions": 1, "words": 4, "shortest": 4, "mean": 4.0, "longest": 4, "unk": 0.75},
        },
        "duplicates": {"images": 2, "examples": [["train: t1", "val: v0"], ["train: t1", "test: e0"]]},
    }  # fmt: skip
    assert json.loads(json.dumps(summarize(corpus), allow_nan=False)) == summarize(corpus)


def test_summary_of_empty_captions_and_special_tokens_at_any_id():
    vocab = Vocab(["dog", "<UNK>", "<END>", "<NULL>", "<START>"])
    empty = summarize(Corpus(vocab, {"train": captioned_split(vocab, [[]], [[0.0]], "t")}, ""))
    assert empty["splits"]["train"]["unk"] == 0.0
    summary = summarize(Corpus(vocab, {"train": captioned_split(vocab, [["dog", "cow"], []], [[0.0]], "t")}, ""))
    assert summary["vocabulary"] == 1
    assert summary["splits"]["train"] | {"images": 0} == {
        "images": 0, "captions": 2, "words": 2, "shortest": 0, "mean": 1.0, "longest": 2, "unk": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_duplicates_across_splits_are_found_in_any_block(dtype, monkeypatch):
    monkeypatch.setattr(blocks_module, "BLOCK_VALUES", 3 * 4)
    vocab = Vocab.build([["a"]])
    rows = np.random.default_rng(0).standard_normal((40, 4))
    others = np.vstack([rows[25:], -rows])
    splits = {
        name: captioned_split(vocab, [["a"]] * len(features), features, name[0], dtype)
        for name, features in (("train", rows), ("val", others))
    }
    repeated = near_duplicates(Corpus(vocab, splits, ""))
    assert repeated["images"] == 15
    assert repeated["examples"] == [[f"train: t{row + 25}", f"val: v{row}"] for row in range(15)]


@pytest.mark.parametrize("width", [MIN_WIDTH - 1, MIN_WIDTH, 600])
def test_similar_images_across_splits_are_near_duplicates(width, monkeypatch):
    """Of the test images, row k is a training image with noise; the cosines are about 1 / sqrt(1 + noise^2)."""
    monkeypatch.setattr(blocks_module, "BLOCK_VALUES", 3 * width)
    vocab, rng, scale = Vocab.build([["a"]]), np.random.default_rng(0), np.linspace(0.01, 100, width)
    rows = 50 + rng.standard_normal((30, width)) * scale
    noise = scale * rng.standard_normal((4, width))
    noise[3, width // 3 :] = 0  # of small features alone: similar only before standardization
    noisy = rows[:4] + noise * np.array([[0.0], [0.2], [0.4], [1.0]])
    splits = {
        "train": captioned_split(vocab, [["a"]], rows, "t", np.float32),
        "val": captioned_split(vocab, [["a"]], 50 + rng.standard_normal((5, width)) * scale, "v", np.float32),
        "test": captioned_split(vocab, [["a"]], noisy[::-1], "e", np.float32),
    }
    pairs = [["train: t1", "test: e2"], ["train: t0", "test: e3"]]
    found = pairs[::-1] if width >= MIN_WIDTH else pairs[1:]
    assert near_duplicates(Corpus(vocab, splits, "")) == {"images": len(found), "examples": found}


def test_non_contiguous_rows_are_supported():
    vocab = Vocab.build([["a"]])
    features = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    splits = {
        "train": captioned_split(vocab, [["a"]], features, "t"),
        "val": captioned_split(vocab, [["a"]], features[::-2], "v"),
    }
    assert near_duplicates(Corpus(vocab, splits, "")) == {
        "images": 2, "examples": [["train: t3", "val: v0"], ["train: t1", "val: v1"]],
    }  # fmt: skip
