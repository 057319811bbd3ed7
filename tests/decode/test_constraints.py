"""Constraints against a reference implementation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import END, allowed, constraints

from captioner.decode import UNCONSTRAINED, Constraints

VOCAB = 6


@given(
    limits=constraints(),
    rows=st.integers(0, 6),
    length=st.integers(0, 7),
    seed=st.integers(0, 1000),
)
def test_allowed_words_match_the_reference(limits: Constraints, rows: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = rng.choice([0, 1, 3, 4, 5], (rows, length))
    log_probs = -rng.random((rows, VOCAB))
    expected = log_probs.copy()
    limits.apply(log_probs, words, END)
    for row in range(rows):
        free = allowed(words[row].tolist(), limits, VOCAB)
        assert np.flatnonzero(np.isfinite(log_probs[row])).tolist() == free
        assert (log_probs[row, free] == expected[row, free]).all()


@pytest.mark.parametrize(
    ("limits", "words", "free"),
    [
        (UNCONSTRAINED, [3, 3, 3], [0, 1, 2, 3, 4, 5]),
        (Constraints([0, 4]), [3], [1, 2, 3, 5]),
        (Constraints(no_repeat_ngram=1), [3, 5], [0, 1, 2, 4]),
        (Constraints(no_repeat_ngram=2), [3, 4, 3], [0, 1, 2, 3, 5]),
        (Constraints(no_repeat_ngram=2), [3, 3], [0, 1, 2, 4, 5]),
        (Constraints(no_repeat_ngram=3), [3, 4, 5, 3, 4], [0, 1, 2, 3, 4]),
        (Constraints(no_repeat_ngram=3), [3, 4], [0, 1, 2, 3, 4, 5]),
        (Constraints(min_length=3), [3, 4], [0, 1, 3, 4, 5]),
        (Constraints(min_length=2), [3, 4], [0, 1, 2, 3, 4, 5]),
        (Constraints([0, 1, 5], min_length=9, no_repeat_ngram=1), [3, 4], [END]),
    ],
)
def test_examples(limits: Constraints, words: list[int], free: list[int]) -> None:
    log_probs = np.zeros((1, VOCAB))
    limits.apply(log_probs, np.array([words]), END)
    assert np.flatnonzero(np.isfinite(log_probs[0])).tolist() == free
