"""The benchmark of search: ranks of the right photographs, and a wrong score is found."""

import numpy as np
import pytest

from benchmarks import search
from benchmarks.checks import WrongResultError
from captioner.data.vocabulary import SPECIAL, Vocab
from captioner.decode.word_regression import WordRegression
from captioner.photos.search import FLOOR, Query, read_query

VOCAB = Vocab((*SPECIAL, "dog", "snow", "a"))
SHARES = np.array([[0, 0, 0, 0, 0.9, 0.01, 1], [0, 0, 0, 0, 0.5, 0.8, 1], [0, 0, 0, 0, 0.5, 0.015, 1]])


@pytest.fixture
def queries() -> tuple[list[Query], WordRegression]:
    none, counts = np.zeros((7, 1)), np.array([0, 0, 0, 0, 10, 10, 90])
    regression = WordRegression(VOCAB, none.T, none, none[:, 0], counts, counts > 0, 100, 1.0)
    return [read_query(text, regression) for text in ("A dog", "snow!", "snow")], regression


def test_ranks_of_the_right_photographs(queries: tuple[list[Query], WordRegression]) -> None:
    texts, regression = queries
    assert search.ranks(SHARES, texts, [0, 1, 2], regression, FLOOR).tolist() == [1, 1, 2.5], "shares below the least"
    assert search.ranks(SHARES, texts, [2, 0, 2], regression, 0.001).tolist() == [2.5, 3, 2]
    assert (search.stored(SHARES, 2)[:, 4:] > 0).tolist() == [
        [True, False, True],
        [False, True, True],
        [True, False, True],
    ]


def test_a_wrong_score_is_found(queries: tuple[list[Query], WordRegression], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "score", lambda words, shares, idf: 0.0)
    with pytest.raises(WrongResultError, match="score of the first query"):
        search.ranks(SHARES, queries[0], [0, 1, 2], queries[1], FLOOR)
