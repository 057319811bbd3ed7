"""The consensus is kernel ridge regression, in which an image of train does not hear itself; it ranks a beam anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.features import standardization
from captioner.decode import Reranker, rank
from captioner.decode.consensus import RIDGE, SHARPNESS, _inverse, directions_of, kernel_inverse
from captioner.errors import DataError
from captioner.metrics import CiderD
from captioner.model.standardizer import Standardizer

REFERENCES = [[[4, 5, 6, 2], [4, 6, 2]], [[7, 8, 2]], [[4, 5, 9, 10, 2]], [[11, 2], [12, 13, 2]], [[5, 6, 2]]]
N, F = len(REFERENCES), 6


def images(seed: int = 0, count: int = N) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, F)) * 3 + 1


def of(known: np.ndarray, references: list = REFERENCES) -> Reranker:
    standardizer = Standardizer(*standardization(known))
    directions = directions_of(known, standardizer)
    return Reranker(directions, kernel_inverse(directions), references, standardizer)


def regressed(known: np.ndarray, asked: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The shares of the known images by the textbook; features are standardised by those they are `among`."""
    directions = [(x - among.mean(axis=0)) / among.std(axis=0) for x in (known, asked)]
    known, asked = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in directions)
    kernel = np.exp(SHARPNESS * (known @ known.T - 1)) + RIDGE * np.eye(len(known))
    return np.linalg.solve(kernel, np.exp(SHARPNESS * (known @ asked.T - 1))).T


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_shares_are_those_of_the_textbook(seed: int, asked: int) -> None:
    known, others = images(seed), images(seed + 1, asked)
    found = of(known).shares(others)
    np.testing.assert_allclose(found, regressed(known, others, known), rtol=0, atol=1e-4)


@given(st.integers(0, 2**32), st.integers(0, N - 1))
def test_an_image_does_not_hear_itself(seed: int, image: int) -> None:
    known = images(seed)
    (found,) = of(known).shares(known[[image]])
    others = np.delete(np.arange(N), image)
    assert found[image] == 0
    np.testing.assert_allclose(found[others], regressed(known[others], known[[image]], known)[0], rtol=0, atol=1e-4)


def test_nor_the_same_image_under_another_name() -> None:
    known = images()
    known[3] = known[1]
    (found,) = of(known).shares(known[[1]])
    assert found[[1, 3]].tolist() == [0, 0]
    others = [0, 2, 4]
    np.testing.assert_allclose(found[others], regressed(known[others], known[[1]], known)[0], rtol=0, atol=1e-4)


def test_what_was_said_of_like_images_is_expected() -> None:
    known = images()
    consensus = of(known)
    asked = known[[1, 2]] + 0.05
    captions = [[[7, 8, 2], [4, 5, 9, 10, 2], []]] * 2
    first, second = consensus.expected(asked, captions)
    assert first[0] > first[1]
    assert second[1] > second[0]
    assert first[2] == second[2] == 0
    each = np.stack([CiderD(REFERENCES).score(np.arange(N), [caption] * N) for caption in captions[0]])
    np.testing.assert_allclose(np.stack([first, second]), consensus.shares(asked) @ each.T, rtol=1e-6)


def test_features_may_be_all_the_same_and_of_low_precision() -> None:
    same = np.ones((N, F), np.float16)
    consensus = of(same)
    assert np.isfinite(consensus.shares(same)).all()
    assert np.isfinite(consensus.shares(np.full((1, F), 60_000, np.float16))).all()


def test_columns_that_are_constant_tell_nothing() -> None:
    known, asked = images().astype(np.float32), images(1, 2).astype(np.float32)

    def widened(features: np.ndarray) -> np.ndarray:
        return np.concatenate([features, np.full((len(features), 40), 0.1, np.float32)], axis=1)

    np.testing.assert_allclose(of(widened(known)).shares(widened(asked)), of(known).shares(asked), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_an_image_knows_itself_among_many_in_either_precision(dtype: type) -> None:
    known = np.maximum(np.random.default_rng(0).standard_normal((400, 600)), 0).astype(np.float32)
    found = of(known.astype(dtype), [[[4, 2]]] * 400).shares(known)
    assert (found.diagonal() == 0).all()
    assert (found == 0).sum() == 400, "and nobody else"


def test_large_features_are_compared_as_small_ones_are() -> None:
    known, asked = images(), images(1, 2)
    found = of((known * 1e29).astype(np.float32)).shares((asked * 1e29).astype(np.float32))
    np.testing.assert_allclose(found, regressed(known, asked, known), rtol=0, atol=1e-4)


def test_one_image_is_enough_and_each_needs_a_reference() -> None:
    alone = of(images(count=1), [[[4, 5, 2]]])
    assert alone.shares(images(1, 3)).shape == (3, 1)
    with pytest.raises(DataError, match="image 1: expected a caption"):
        of(images(count=2), [[[4, 2]], []])


@pytest.mark.parametrize("count", [1, 5, 256, 257, 1001])
def test_a_kernel_is_inverted_by_halves(count: int) -> None:
    directions = np.random.default_rng(count).standard_normal((count, 8))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    kernel = np.exp(SHARPNESS * (directions @ directions.T - 1)) + RIDGE * np.eye(count)
    found = _inverse(kernel.astype(np.float32))
    np.testing.assert_allclose(found, np.linalg.inv(kernel), rtol=0, atol=2e-5)
    whole = kernel_inverse(directions.astype(np.float32))
    np.testing.assert_allclose(whole, np.linalg.inv(kernel), rtol=0, atol=2e-5)
    np.testing.assert_array_equal(whole, whole.T)


def test_captions_are_ranked_by_likelihood_and_expectation() -> None:
    tokens = np.array([[[4, 5, 2], [6, 2, 0], [0, 0, 0]], [[4, 2, 0], [5, 2, 0], [6, 2, 0]]])
    scores = np.array([[-3.0, -2.4, -np.inf], [-1.0, -1.0, -1.5]])
    expected = [np.array([0.0, 0.1, 9.0]), np.array([0.0, 0.0, 0.1])]

    def order(weight: float, power: float) -> list[list[int]]:
        ranked, log_probs = rank(tokens, scores, expected, 0, weight, power)
        found = [[tokens[n].tolist().index(words) for words in ranked[n].tolist()] for n in range(2)]
        np.testing.assert_array_equal(log_probs, np.take_along_axis(scores, np.array(found), axis=1))
        return found

    assert order(0, 0) == [[1, 0, 2], [0, 1, 2]], "as the beam has them"
    assert order(0, 1) == [[0, 1, 2], [0, 1, 2]], "-3 / 3 > -2.4 / 2"
    assert order(3, 1) == [[1, 0, 2], [2, 0, 1]], "what is expected counts, but no caption is none"
