"""Search: the score of a photograph, and what is kept in memory."""

import math
import tracemalloc

from captioner.decode.word_regression import Keyword
from captioner.photos.search import FLOOR, Match, best_matches, score


def test_the_score_is_the_sum_of_weighted_logarithms_of_shares() -> None:
    idf, shares = {"dog": 2.0, "snow": 3.0, "on": 0.5}, {"dog": 0.5, "snow": 0.001, "man": 0.9}
    expected = 2 * math.log(0.5) + (3 + 0.5) * math.log(FLOOR)
    assert math.isclose(score(idf, shares, idf), expected)
    assert score(["dog"], {"dog": 1.0}, idf) == 0


def test_only_the_best_photographs_are_kept_in_memory() -> None:
    rows = (Match(f"{n}", "x" * 100_000, -(n % 7), [Keyword("dog", 0.5)]) for n in range(2000))
    tracemalloc.start()
    try:
        best = best_matches(rows, 3)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert [match.image for match in best] == ["0", "7", "14"], "equal ones in the order of the tables"
