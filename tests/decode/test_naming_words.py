"""Words that name things are found in captions of a small grammar, and in no other words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.decode.word_regression import naming_words

ARTICLES, ADJECTIVES, NOUNS = ("a", "the"), ("red", "big", "old"), ("dog", "cat", "boy", "table", "ball", "tree")
VERBS, PREPOSITIONS = ("running", "sitting", "lying"), ("near", "under", "behind")


def sentences(seed: int, count: int, most_adjectives: int) -> list[list[str]]:
    """Captions such as `a big dog running under the table`."""
    rng = np.random.default_rng(seed)

    def phrase() -> list[str]:
        adjectives = [str(rng.choice(ADJECTIVES)) for _ in range(rng.integers(0, most_adjectives + 1))]
        return [str(rng.choice(ARTICLES)), *adjectives, str(rng.choice(NOUNS))]

    return [
        [*phrase(), *([str(rng.choice(VERBS))] * int(rng.integers(2))), str(rng.choice(PREPOSITIONS)), *phrase()]
        for _ in range(count)
    ]


def named(captions: list[list[str]]) -> set[str]:
    vocab = Vocab([*SPECIAL, *ARTICLES, *ADJECTIVES, *NOUNS, *VERBS, *PREPOSITIONS, "group", "of"])
    found = naming_words(vocab.encode(captions), len(vocab), vocab.end)
    assert found.shape == (len(vocab),)
    return {vocab.words[word] for word in np.flatnonzero(found)}


@pytest.mark.parametrize("most_adjectives", [0, 1, 2])
@given(seed=st.integers(0, 99))
def test_the_nouns_of_a_grammar(most_adjectives: int, seed: int) -> None:
    assert named(sentences(seed, 500, most_adjectives)) == set(NOUNS)


def test_a_word_before_one_and_the_same_word_names_nothing() -> None:
    captions = sentences(0, 500, 1)
    groups = [["a", "group", "of", *caption[1:]] for caption in captions[:100]]
    assert named([*captions, *groups]) == set(NOUNS)


@pytest.mark.parametrize("caption", [[], ["a"], ["dog"], ["a", "dog", "running"]])
def test_few_captions(caption: list[str]) -> None:
    assert named([caption]) <= set(caption)
    assert named([caption] * 20) <= set(caption)
