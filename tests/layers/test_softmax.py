"""Softmax and cross-entropy: exact sums, large scores and masks."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.layers.softmax import cross_entropy, log_softmax, temporal_softmax_loss


def brute_force(scores: np.ndarray, target: int) -> float:
    """log Σ exp(s_v - s_y)"""
    return math.log(math.fsum(math.exp(float(s) - float(scores[target])) for s in scores))


@given(captions=st.integers(1, 4), steps=st.integers(0, 5), vocab=st.integers(1, 6), seed=st.integers(0, 99))
def test_temporal_loss_is_the_sum_over_words(captions: int, steps: int, vocab: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = 3 * rng.standard_normal((captions, steps, vocab)), rng.integers(0, vocab, (captions, steps))
    mask = rng.random((captions, steps)) < 0.6

    loss, dx = temporal_softmax_loss(x, y, mask)

    expected = sum(brute_force(x[place], y[place]) for place in np.ndindex(*mask.shape) if mask[place]) / captions
    assert loss == pytest.approx(expected, abs=1e-12)
    probabilities = np.exp(x) / np.exp(x).sum(axis=2, keepdims=True)
    dx_expected = (probabilities - np.eye(vocab)[y]) * mask[:, :, None] / captions
    np.testing.assert_allclose(dx, dx_expected, atol=1e-12)


def test_masked_words_have_no_influence() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    mask = rng.random((3, 4)) < 0.5
    loss, dx = temporal_softmax_loss(x, y, mask)

    x[~mask], y[~mask] = np.nan, 99
    again, dx_again = temporal_softmax_loss(x, y, mask)

    assert again == loss
    assert (dx_again == dx).all()
    assert (dx[~mask] == 0).all()


@pytest.mark.parametrize("kind", [bool, int, float])
def test_masks_of_any_dtype(kind: type, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = np.random.default_rng(0).standard_normal((1, 3, 4)), np.array([[0, 1, 2]])
    loss, _ = temporal_softmax_loss(x, y, np.array([[1, 0, 1]], kind), verbose=True)
    assert loss == pytest.approx(brute_force(x[0, 0], 0) + brute_force(x[0, 2], 2))
    loss, dx = temporal_softmax_loss(x, y, np.zeros((1, 3), kind))
    assert loss == 0
    assert (dx == 0).all()
    assert capsys.readouterr() == ("", ""), "verbose has no effect"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e4, -1e4, 1e30])
def test_large_scores_are_finite(dtype: type, size: float) -> None:
    x = np.array([[[size, 0, 0], [0, size, 0]]], dtype)
    loss, dx = temporal_softmax_loss(x, np.array([[1, 1]]), np.ones((1, 2), bool))
    assert loss == pytest.approx(abs(size) if size > 0 else abs(size) + 2 * math.log(2))
    assert np.isfinite(dx).all()
    assert dx.dtype == dtype
    log_probs = log_softmax(x[0])
    assert np.isfinite(log_probs).all()
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, rtol=1e-6)


@given(rows=st.integers(0, 9), scale=st.floats(0.01, 100), biased=st.booleans())
def test_cross_entropy_matches_log_softmax(rows: int, scale: float, biased: bool) -> None:
    rng = np.random.default_rng(rows)
    scores, targets = rng.standard_normal((rows, 7)), rng.integers(0, 7, rows)
    bias = rng.standard_normal(7) if biased else 0.0
    log_probs = log_softmax(scores + bias) if rows else scores
    gradient = scale * (np.exp(log_probs) - np.eye(7)[targets])

    losses, nll, dscores, dbias = cross_entropy(scores, targets, scale, bias)

    np.testing.assert_allclose(losses, -log_probs[np.arange(rows), targets], atol=1e-12)
    np.testing.assert_allclose(dscores, gradient, atol=1e-12 * scale)
    np.testing.assert_allclose(dbias, gradient.sum(axis=0), atol=1e-11 * scale)
    assert dscores is scores
    assert nll is losses


@given(rows=st.integers(0, 9), smoothing=st.floats(0.01, 0.99))
def test_label_smoothing(rows: int, smoothing: float) -> None:
    rng = np.random.default_rng(rows)
    scores, targets = rng.standard_normal((rows, 7)), rng.integers(0, 7, rows)
    expected, *_ = cross_entropy(scores.copy(), targets, 1.0)
    log_probs = log_softmax(scores) if rows else scores
    losses, nll, *_ = cross_entropy(scores, targets, 1.0, smoothing=smoothing)
    np.testing.assert_array_equal(nll, expected)
    np.testing.assert_allclose(losses, (1 - smoothing) * expected - smoothing * log_probs.mean(axis=1), atol=1e-12)


@given(shift=st.floats(-1e6, 1e6), seed=st.integers(0, 99))
def test_only_differences_of_scores_matter(shift: float, seed: int) -> None:
    scores = np.random.default_rng(seed).standard_normal((4, 5))
    np.testing.assert_allclose(log_softmax(scores + shift), log_softmax(scores), atol=1e-9)


def test_each_row_is_shifted_by_its_maximum() -> None:
    log_probs = log_softmax(np.array([[1e4, 1e4], [0.0, 0.0], [-1e4, -1e4]]))
    np.testing.assert_allclose(log_probs, -math.log(2))
    losses, *_ = cross_entropy(np.array([[1e4, 1e4], [0.0, 0.0], [-1e4, -1e4]]), np.array([0, 1, 0]), 1.0)
    np.testing.assert_allclose(losses, math.log(2))


def test_log_softmax_does_not_modify_its_input() -> None:
    scores = np.arange(6.0).reshape(2, 3)
    log_softmax(scores)
    assert (scores == np.arange(6.0).reshape(2, 3)).all()
