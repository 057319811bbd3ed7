"""Agreement in number: what follows `a` and `two` is learned from captions."""

import numpy as np
import pytest

from captioner.data.vocabulary import Vocab
from captioner.decode.agreement import contexts, disagrees, rare_words

CAPTIONS = [
    *["a dog sits on the rocks", "two dogs sit on the rocks", "a big dog near two boats"] * 100,
    *["a dog near two big boats", "a boat beside a sports car", "another boat", "some sports"] * 100,
    *["few trees", "a few trees", "the tree"] * 100,
    *["the skis"] * 60,
    *["a skis"] * 3,
    "a rocks",
]
VOCAB = Vocab.build([caption.split() for caption in CAPTIONS])


def tokens_of(*captions: str) -> np.ndarray:
    return VOCAB.encode([caption.split() for caption in captions])


def test_the_context_is_the_nearest_determiner() -> None:
    (row,) = contexts(tokens_of("a big dog near two boats few trees a few trees"), VOCAB)
    words = ["-", "a:1", "a:2", "-", "-", "two:1", "two:2", "two:1", "two:2", "a:1", "two:1"]
    names = {"-": -1, "a:1": 0, "a:2": 1, "two:1": 2, "two:2": 3}
    assert row[1 : 1 + len(words)].tolist() == [names[word] for word in words]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dogs", True), ("a big dogs sits", True), ("another rocks", True), ("two dog", True), ("two big boat", True),
        ("a dog", False), ("two dogs", False), ("a sports car", False), ("a few trees", False), ("the dogs", False),
        ("a skis", False), ("a dog near rocks", False), ("", False),
    ],
)  # fmt: skip
def test_captions_that_do_not_agree(caption: str, expected: bool) -> None:
    assert disagrees(tokens_of(caption), rare_words(tokens_of(*CAPTIONS), VOCAB), VOCAB).tolist() == [expected]


def test_words_with_little_evidence_are_not_rare() -> None:
    few = ["a dog", "two dogs"] * 5
    rare = rare_words(tokens_of(*few), VOCAB)
    assert not rare.any()
    assert not disagrees(tokens_of("a dogs"), rare, VOCAB).any()
