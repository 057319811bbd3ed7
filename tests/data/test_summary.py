"""Summary of a small data set counted by hand."""

import dataclasses
import json

import pytest
from prepared_sets import captioned_split

from captioner.data.corpus import Corpus
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


def test_the_images_of_each_source_are_counted(corpus):
    assert "sources" not in summarize(corpus)["splits"]["train"]
    sources = {"train": ["a", "b", "a"], "val": ["a", "a"], "test": ["b"]}
    splits = {name: dataclasses.replace(corpus.splits[name], sources=names) for name, names in sources.items()}
    counted = summarize(dataclasses.replace(corpus, splits=splits))["splits"]
    assert {name: split["sources"] for name, split in counted.items()} == {
        "train": {"a": 2, "b": 1}, "val": {"a": 2}, "test": {"b": 1}
    }  # fmt: skip
