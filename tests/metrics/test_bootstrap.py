"""Bootstrap confidence intervals, and statistics without references."""

import numpy as np
import pytest

from captioner.metrics import confidence_interval, diversity, novelty, score_rows, scores_from_sums


def corpus(fraction_right: float, images: int = 200) -> np.ndarray:
    references = [[["a", f"w{image}", "b", "c", "d"]] for image in range(images)]
    captions = [
        several[0] if image < fraction_right * images else ["x"] * 5 for image, several in enumerate(references)
    ]
    return score_rows(captions, references)


def test_an_interval_matches_the_binomial_distribution() -> None:
    rows = corpus(0.5)
    (lower, upper) = confidence_interval(rows)
    deviation = (0.25 / len(rows)) ** 0.5
    assert upper[0] - lower[0] == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert ((lower < scores_from_sums(rows.sum(axis=0))) & (scores_from_sums(rows.sum(axis=0)) < upper)).all()
    np.testing.assert_array_equal(confidence_interval(rows), (lower, upper))
    assert (confidence_interval(rows, seed=1) != (lower, upper)).any()


def test_intervals_of_paired_differences() -> None:
    better, worse = corpus(0.6), corpus(0.5)
    (lower, _), (_, upper) = confidence_interval(better, worse), confidence_interval(worse, better)
    assert (lower > 0).all()
    assert (upper < 0).all()
    np.testing.assert_array_equal(confidence_interval(better, better), 0)


def test_diversity_and_novelty() -> None:
    captions = [["a", "dog"], ["a", "dog"], ["a", "a", "a"], []]
    assert diversity(captions) == {"mean_length": 7 / 4, "vocabulary": 2, "distinct": 3, "repeats": 1 / 4}
    assert novelty(captions, [["a", "dog"], ["dog", "a"]]) == 1 / 2
    assert diversity([]) == {"mean_length": 0, "vocabulary": 0, "distinct": 0, "repeats": 0}
