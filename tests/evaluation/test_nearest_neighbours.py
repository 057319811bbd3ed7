"""The nearest-neighbour baseline returns the consensus caption of similar training images."""

from pathlib import Path

import numpy as np
import pytest

from captioner.captioning.load import open_corpus, open_run
from captioner.data.corpus import Corpus, Split
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.errors import DataError
from captioner.evaluation.nearest_neighbours import nearest, nearest_neighbour_captions
from captioner.metrics import CiderD

TEXTS = ["a red dog runs", "a red dog sits", "a red dog runs now", "two men", "the blue sea", "a blue sea"]
VOCAB = Vocab([*SPECIAL, *sorted({word for text in TEXTS for word in text.split()})])


def split(texts: list[str], image_idxs: list[int], features: list[list[float]]) -> Split:
    captions = VOCAB.encode([text.split() for text in texts])
    ids = [f"{row}.jpg" for row in range(len(features))]
    return Split(captions, np.array(image_idxs, np.int32), np.array(features, np.float16), ids)


def test_nearest_sorts_by_cosine_similarity() -> None:
    rng = np.random.default_rng(0)
    queries, others = rng.standard_normal((5, 3)), rng.standard_normal((700, 3)) * rng.uniform(0.1, 9, (700, 1))
    allowed = np.arange(1, 700, 2)
    neighbours = nearest(queries, np.array([4, 0]), others, allowed, 7)
    for row, near in zip((4, 0), neighbours, strict=True):
        cosines = others @ queries[row] / np.linalg.norm(others, axis=1)
        assert near.tolist() == sorted(allowed, key=lambda other: -cosines[other])[:7]
    assert nearest(queries, np.arange(5), np.zeros((2, 3)), np.array([0, 1])).tolist() == [[0, 1]] * 5


def test_images_without_captions_are_not_neighbours() -> None:
    train = split(TEXTS, [0, 1, 1, 2, 4, 4], [[1, 0], [1, 0.1], [1, 0.2], [1, 0], [0, 1]])
    queries = split(["two men"] * 3, [0, 1, 2], [[2, 0], [0, 3], [0, 0.5]])
    corpus = Corpus(VOCAB, {"train": train, "val": queries}, "none")
    assert nearest_neighbour_captions(corpus, "val", np.array([0, 2])) == ["a red dog runs", "a red dog runs"]
    with pytest.raises(DataError, match="not found"):
        nearest_neighbour_captions(Corpus(VOCAB, {"val": queries}, "none"), "val", np.array([0]))


def test_the_caption_has_the_highest_mean_similarity_to_all_candidates(tiny_run: Path) -> None:
    corpus = open_corpus(open_run(tiny_run))
    val, train = corpus.split("val"), corpus.split("train")
    rows = np.arange(4)
    captions = nearest_neighbour_captions(corpus, "val", rows)
    words = [[text.split() for text in train.references(row, corpus.vocab)] for row in range(40)]
    frequencies = CiderD(words)
    neighbours = nearest(val.features, rows, train.features, np.arange(40))
    for caption, near in zip(captions, neighbours, strict=True):
        candidates = [candidate for other in near for candidate in words[other]]
        scores = frequencies.score(np.repeat(near, len(candidates)), candidates * len(near))
        similarity = scores.reshape(len(near), -1).mean(axis=0)
        assert similarity[candidates.index(caption.split())] == pytest.approx(max(similarity))


@pytest.mark.parametrize("size", [1e30, 1e20, 1.0, 1e-30])
def test_neighbours_do_not_depend_on_feature_scale(size: float) -> None:
    """Features up to 1e30 are valid, but squares of numbers above 1.8e19 overflow in float32."""
    rng = np.random.default_rng(0)
    queries, others = rng.standard_normal((5, 8)), rng.standard_normal((50, 8))
    rows, allowed = np.arange(5), np.arange(50)
    expected = nearest(queries, rows, others, allowed, 7)
    scaled = (queries * size).astype(np.float32), (others * size).astype(np.float32)
    np.testing.assert_array_equal(nearest(scaled[0], rows, scaled[1], allowed, 7), expected)
