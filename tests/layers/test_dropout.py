"""Dropout: its distribution and gradients, and its places in the model."""

import math

import numpy as np
import pytest

from captioner.arrays import Batch
from captioner.layers.dropout import LEVELS, Dropout, draw_noise, dropout_backward, dropout_forward
from captioner.model.build import initial_params, parameter_shapes
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes

SHAPE = (400, 500)


def noise(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    return draw_noise(shape, np.random.default_rng(seed))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_rate_and_expectation(p: float) -> None:
    x = np.full(SHAPE, 2.0)
    out, mask = dropout_forward(x, p, noise())
    np.testing.assert_allclose(np.unique(mask), [0, 1 / (1 - p)], rtol=1e-4)
    deviation = np.sqrt(p * (1 - p) / x.size)
    assert abs((mask == 0).mean() - p) < 4 * deviation
    assert abs(out.mean() - 2) < 4 * 2 * deviation / (1 - p)
    assert (out == x * mask).all()


def test_rows_and_columns_are_dropped_independently() -> None:
    _, mask = dropout_forward(np.ones(SHAPE), 0.3, noise())
    dropped = mask == 0
    for axis, length in enumerate(SHAPE):
        rate = dropped.mean(axis=axis)
        assert rate.std() == pytest.approx(np.sqrt(0.3 * 0.7 / length), rel=0.2)


@pytest.mark.parametrize("p", [0, 1e-9, 1 - 1e-9])
def test_rates_close_to_0_and_1_are_finite(p: float) -> None:
    _, mask = dropout_forward(np.ones(4), p, np.array([0, 1, LEVELS - 2, LEVELS - 1], np.uint16))
    assert mask.tolist() == ([1, 1, 1, 1] if p < 0.5 else [0, 0, 0, LEVELS])


def test_the_mask_is_a_function_of_the_noise() -> None:
    x = np.ones((5, 6))
    masks = {dtype: dropout_forward(x.astype(dtype), 0.5, noise((5, 6)))[1] for dtype in (np.float32, np.float64)}
    assert masks[np.float32].dtype == np.float32
    assert (masks[np.float32] == masks[np.float64]).all()
    assert (masks[np.float64] != dropout_forward(x, 0.5, noise((5, 6), seed=8))[1]).any()


def test_noise_is_uniform_over_all_levels() -> None:
    drawn = noise((LEVELS * 8,))
    assert (np.bincount(drawn >> 8, minlength=256) / (8 * 256)).std() < 0.04
    assert len(np.unique(drawn)) > 0.99 * LEVELS


def test_backward_uses_the_same_mask() -> None:
    x, dout = np.ones((5, 6)), np.random.default_rng(1).standard_normal((5, 6))
    out, mask = dropout_forward(x, 0.5, noise((5, 6)))
    assert (dropout_backward(dout, mask) == dout * out).all()


SIZES = Sizes(vocab=7, feature=4, wordvec=3, hidden=5)


def test_dropout_preserves_the_mean_loss_near_0() -> None:
    """With scores near 0 the loss is almost linear in h, so its mean is the loss without dropout."""
    rng = np.random.default_rng(5)
    params = {name: 0.7 * rng.standard_normal(shape) for name, shape in parameter_shapes(SIZES).items()}
    params["W_vocab"] *= 1e-3
    plain, m = (CaptioningRNN(SIZES, params, dropout=Dropout(hidden=rate)) for rate in (0, 0.5))
    captions, images = np.array([[1, 4, 5, 2]] * 50), np.tile(rng.standard_normal(4), (50, 1))
    losses = [m.loss(Batch(images, captions), np.random.default_rng(seed))[0] for seed in range(40)]
    error = np.std(losses) / math.sqrt(40)
    assert abs(np.mean(losses) - plain.loss(Batch(images, captions))[0]) < 4 * error
    assert error > 0


def test_word_dropout_is_independent_at_each_position() -> None:
    """Word vectors of size 1: the loss reveals how many of three positions are dropped."""
    shape = Sizes(vocab=3, feature=1, wordvec=1, hidden=1, decoder="rnn")
    params = initial_params(shape, np.zeros, np.float64)
    params["W_embed"][1], params["Wx"][0], params["W_vocab"][0] = 1, 1, [0, 1, 2]
    m = CaptioningRNN(shape, params, dropout=Dropout(words=0.5))
    losses = {
        m.loss(Batch(np.zeros((1, 1)), np.array([[1, 1, 1, 1]])), np.random.default_rng(seed))[0] for seed in range(60)
    }
    assert len({round(loss, 9) for loss in losses}) == 4
