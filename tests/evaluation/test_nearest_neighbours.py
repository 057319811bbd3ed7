"""Borrowed captions are those that the nearest images of train agree on."""

from pathlib import Path

import numpy as np
import pytest

from captioner.data.corpus import Corpus, Split
from captioner.errors import DataError
from captioner.evaluation.nearest_neighbours import nearest, nearest_neighbour_captions
from captioner.inference.captions import open_corpus, open_run
from captioner.metrics import CiderD
from captioner.text.vocabulary import SPECIAL, Vocab

TEXTS = ["a red dog runs", "a red dog sits", "a red dog runs now", "two men", "the blue sea", "a blue sea"]
VOCAB = Vocab([*SPECIAL, *sorted({word for text in TEXTS for word in text.split()})])


def split(texts: list[str], image_idxs: list[int], features: list[list[float]]) -> Split:
    captions = VOCAB.encode([text.split() for text in texts])
    ids = [f"{row}.jpg" for row in range(len(features))]
    return Split(captions, np.array(image_idxs, np.int32), np.array(features, np.float16), ids)


def test_the_nearest_have_the_greatest_cosine() -> None:
    rng = np.random.default_rng(0)
    asked, others = rng.standard_normal((5, 3)), rng.standard_normal((700, 3)) * rng.uniform(0.1, 9, (700, 1))
    there = np.arange(1, 700, 2)
    found = nearest(asked, np.array([4, 0]), others, there, 7)
    for row, near in zip((4, 0), found, strict=True):
        cosines = others @ asked[row] / np.linalg.norm(others, axis=1)
        assert near.tolist() == sorted(there, key=lambda other: -cosines[other])[:7]
    assert nearest(asked, np.arange(5), np.zeros((2, 3)), np.array([0, 1])).tolist() == [[0, 1]] * 5


def test_the_consensus_wins_and_images_without_captions_are_no_neighbours() -> None:
    train = split(TEXTS, [0, 1, 1, 2, 4, 4], [[1, 0], [1, 0.1], [1, 0.2], [1, 0], [0, 1]])
    asked = split(["two men"] * 3, [0, 1, 2], [[2, 0], [0, 3], [0, 0.5]])
    corpus = Corpus(VOCAB, {"train": train, "val": asked}, "none")
    assert nearest_neighbour_captions(corpus, "val", np.array([0, 2])) == ["a red dog runs", "a red dog runs"]
    with pytest.raises(DataError, match="not found"):
        nearest_neighbour_captions(Corpus(VOCAB, {"val": asked}, "none"), "val", np.array([0]))


def test_the_caption_is_the_most_like_its_neighbours_captions(tiny_run: Path) -> None:
    corpus = open_corpus(open_run(tiny_run))
    val, train = corpus.split("val"), corpus.split("train")
    borrowed = nearest_neighbour_captions(corpus, "val", np.arange(10))
    words = [[text.split() for text in train.references(row, corpus.vocab)] for row in range(40)]
    weights = CiderD(words)
    for row, near in enumerate(nearest(val.features, np.arange(10), train.features, np.arange(40))):
        every = [caption for other in near for caption in words[other]]
        likeness = [np.mean([weights.score([other], [one])[0] for other in near]) for one in every]
        assert likeness[every.index(borrowed[row].split())] == pytest.approx(max(likeness))


@pytest.mark.parametrize("size", [1e30, 1e20, 1.0, 1e-30])
def test_features_of_any_size_have_the_same_neighbours(size: float) -> None:
    """Squares of numbers beyond 1.8e19 overflow in float32, and features up to 1e30 are allowed."""
    rng = np.random.default_rng(0)
    asked, others = rng.standard_normal((5, 8)), rng.standard_normal((50, 8))
    rows, there = np.arange(5), np.arange(50)
    expected = nearest(asked, rows, others, there, 7)
    scaled = (asked * size).astype(np.float32), (others * size).astype(np.float32)
    np.testing.assert_array_equal(nearest(scaled[0], rows, scaled[1], there, 7), expected)
