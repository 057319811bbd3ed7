"""Consensus re-ranking: leave-one-out kernel ridge regression, and the order of candidates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.data.features import standardization
from captioner.decode import Reranker, consensus, rerank
from captioner.decode.consensus import GAMMAS, RIDGES, Kernel, choose_kernel, inverse_kernel, unit_features
from captioner.errors import DataError
from captioner.metrics import CiderD
from captioner.model.image_input import Standardizer

REFERENCES = [[[4, 5, 6, 2], [4, 6, 2]], [[7, 8, 2]], [[4, 5, 9, 10, 2]], [[11, 2], [12, 13, 2]], [[5, 6, 2]]]
N, F = len(REFERENCES), 6
KERNEL = Kernel(2.0, 0.3)


def images(seed: int = 0, count: int = N) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, F)) * 3 + 1


def reranker(train: np.ndarray, references: list = REFERENCES) -> Reranker:
    standardizer = Standardizer(*standardization(train))
    directions = unit_features(train, standardizer)
    return Reranker(directions, inverse_kernel(directions, KERNEL), references, standardizer, KERNEL)


def regressed(train: np.ndarray, queries: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Regression weights by the textbook formula, with features standardized by the images `among`."""
    directions = [(x - among.mean(axis=0)) / among.std(axis=0) for x in (train, queries)]
    train, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in directions)
    return ridge_regression(train, queries, KERNEL)


def ridge_regression(train: np.ndarray, queries: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Regression weights of unit features by the textbook formula."""
    matrix = np.exp(kernel.gamma * (train @ train.T - 1)) + kernel.ridge * np.eye(len(train))
    return np.linalg.solve(matrix, np.exp(kernel.gamma * (train @ queries.T - 1))).T


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_weights_match_the_textbook_formula(seed: int, queries: int) -> None:
    train, others = images(seed), images(seed + 1, queries)
    weights = reranker(train).weights(others)
    np.testing.assert_allclose(weights, regressed(train, others, train), rtol=0, atol=1e-4)


@given(st.integers(0, 2**32), st.integers(0, N - 1))
def test_a_training_image_is_left_out(seed: int, image: int) -> None:
    train = images(seed)
    (weights,) = reranker(train).weights(train[[image]])
    others = np.delete(np.arange(N), image)
    assert weights[image] == 0
    np.testing.assert_allclose(weights[others], regressed(train[others], train[[image]], train)[0], rtol=0, atol=1e-4)


def test_copies_of_the_image_are_left_out() -> None:
    train = images()
    train[3] = train[1]
    (weights,) = reranker(train).weights(train[[1]])
    assert weights[[1, 3]].tolist() == [0, 0]
    others = [0, 2, 4]
    np.testing.assert_allclose(weights[others], regressed(train[others], train[[1]], train)[0], rtol=0, atol=1e-4)


def test_references_of_similar_images_raise_the_prediction() -> None:
    train = images()
    model = reranker(train)
    queries = train[[1, 2]] + 0.05
    captions = [[[7, 8, 2], [4, 5, 9, 10, 2], []]] * 2
    first, second = model.expected_cider(model.weights(queries), captions)
    assert first[0] > first[1]
    assert second[1] > second[0]
    assert first[2] == second[2] == 0
    each = np.stack([CiderD(REFERENCES).score(np.arange(N), [caption] * N) for caption in captions[0]])
    np.testing.assert_allclose(np.stack([first, second]), model.weights(queries) @ each.T, rtol=1e-6)


def test_the_expected_tfidf_is_that_of_the_references_by_their_weights() -> None:
    train, unknown = images(), [[[-1, 2], [-1, 4, 4, 2]], *REFERENCES[1:]]
    model = reranker(train, unknown)
    weights = model.weights(images(1, 3))
    expected = np.zeros((3, 15))
    for word in range(15):
        having = [[word in caption for caption in captions] for captions in unknown]
        idf = np.log(N / max(1, sum(map(any, having))))
        expected[:, word] = weights @ [np.mean(captions) * idf for captions in having]
    assert (expected != 0).any(axis=0).sum() == 10, "the words of the references, without <END>, which all images have"
    np.testing.assert_allclose(model.expected_tfidf(weights, 15), expected, atol=1e-6)


def test_words_are_collected_only_for_guidance(monkeypatch: pytest.MonkeyPatch) -> None:
    train = images()
    monkeypatch.setattr(consensus, "Words", None)
    model = reranker(train)
    assert model.expected_cider(model.weights(train), [REFERENCES[0]] * N)
    with pytest.raises(AttributeError):
        model.expected_tfidf(model.weights(train), 15)


def test_constant_and_float16_features() -> None:
    same = np.ones((N, F), np.float16)
    model = reranker(same)
    assert np.isfinite(model.weights(same)).all()
    assert np.isfinite(model.weights(np.full((1, F), 60_000, np.float16))).all()


def test_constant_columns_have_no_influence() -> None:
    train, queries = images().astype(np.float32), images(1, 2).astype(np.float32)

    def widened(features: np.ndarray) -> np.ndarray:
        return np.concatenate([features, np.full((len(features), 40), 0.1, np.float32)], axis=1)

    np.testing.assert_allclose(
        reranker(widened(train)).weights(widened(queries)), reranker(train).weights(queries), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_training_image_is_recognised_in_either_precision(dtype: type) -> None:
    train = np.maximum(np.random.default_rng(0).standard_normal((400, 600)), 0).astype(np.float32)
    weights = reranker(train.astype(dtype), [[[4, 2]]] * 400).weights(train)
    assert (weights.diagonal() == 0).all()
    assert (weights == 0).sum() == 400


def test_large_features() -> None:
    train, queries = images(), images(1, 2)
    weights = reranker((train * 1e29).astype(np.float32)).weights((queries * 1e29).astype(np.float32))
    np.testing.assert_allclose(weights, regressed(train, queries, train), rtol=0, atol=1e-4)


def test_a_single_image_suffices_and_each_needs_a_reference() -> None:
    alone = reranker(images(count=1), [[[4, 5, 2]]])
    assert alone.weights(images(1, 3)).shape == (3, 1)
    with pytest.raises(DataError, match="image 1: expected at least one caption"):
        reranker(images(count=2), [[[4, 2]], []])


@pytest.mark.parametrize("count", [1, 5, 256, 257, 1001])
def test_the_inverse_kernel(count: int) -> None:
    directions = np.random.default_rng(count).standard_normal((count, 8))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    kernel = np.exp(KERNEL.gamma * (directions @ directions.T - 1)) + KERNEL.ridge * np.eye(count)
    whole = inverse_kernel(directions.astype(np.float32), KERNEL)
    np.testing.assert_allclose(whole, np.linalg.inv(kernel), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(whole, whole.T)


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("noise", [0.2, 2.0])
@pytest.mark.parametrize("references_per_image", [1, 2])
def test_the_kernel_ranks_the_captions_of_neighbours_best(
    references_per_image: int, noise: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out one by one, with the textbook formula for the others."""
    monkeypatch.setattr(consensus, "EVALUATED", 7)
    monkeypatch.setattr(consensus, "NEIGHBOURS", 5)
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 3, count)
    features = np.eye(3)[groups] + noise * rng.standard_normal((count, 3))
    directions = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    captions = [[[4 + group, 7 + int(rng.integers(0, 3)), 2], [4 + group, 2]] for group in groups.tolist()]
    captions = [references[:references_per_image] for references in captions]
    cider = CiderD(captions)
    without_first = CiderD([references[1:] or references for references in captions], weights=cider)

    def correlation(kernel: Kernel) -> float:
        predicted, actual = [], []
        for image in np.unique(np.linspace(0, count - 1, min(7, count)).astype(int)).tolist():
            others = np.array([row for row in range(count) if row != image])
            if not len(others):
                return 0.0
            nearest = others[np.argsort(-(directions[others] @ directions[image]), kind="stable")][:5]
            candidates = [captions[row][0] for row in nearest.tolist()]
            (weights,) = ridge_regression(directions[others], directions[[image]], kernel)
            every = np.stack([without_first.score(others, [caption] * len(others)) for caption in candidates])
            if references_per_image == 1:  # a candidate is no reference of its own
                every[nearest[:, None] == others] = 0
            scores = cider.score(np.full(len(candidates), image), candidates)
            predicted.extend(every @ weights - (every @ weights).mean())
            actual.extend(scores - scores.mean())
        return float(np.dot(predicted, actual) / (np.linalg.norm(predicted) or 1))

    expected = {Kernel(gamma, ridge): correlation(Kernel(gamma, ridge)) for gamma in GAMMAS for ridge in RIDGES}
    assert expected[choose_kernel(directions, captions)] == pytest.approx(max(expected.values()), abs=1e-5)
    assert count < 30 or max(expected.values()) > min(expected.values())


def test_candidates_are_sorted_by_log_probability_and_prediction() -> None:
    tokens = np.array([[[4, 5, 2], [6, 2, 0], [0, 0, 0]], [[4, 2, 0], [5, 2, 0], [6, 2, 0]]])
    scores = np.array([[-3.0, -2.4, -np.inf], [-1.0, -1.0, -1.5]])
    expected = [np.array([0.0, 0.1, 9.0]), np.array([0.0, 0.0, 0.1])]

    def order(weight: float, power: float) -> list[list[int]]:
        ranked, log_probs = rerank(tokens, scores, expected, 0, weight, power)
        places = [[tokens[n].tolist().index(words) for words in ranked[n].tolist()] for n in range(2)]
        np.testing.assert_array_equal(log_probs, np.take_along_axis(scores, np.array(places), axis=1))
        return places

    assert order(0, 0) == [[1, 0, 2], [0, 1, 2]], "by log-probability"
    assert order(0, 1) == [[0, 1, 2], [0, 1, 2]], "-3 / 3 > -2.4 / 2"
    assert order(3, 1) == [[1, 0, 2], [2, 0, 1]], "predictions count, but missing captions stay last"
