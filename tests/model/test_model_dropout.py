"""Dropout in the model."""

import math

import numpy as np
import pytest

from captioner.layers.dropout import NO_DROPOUT, Dropout
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params

SIZES = Sizes(vocab=7, feature=4, wordvec=3, hidden=5)
CAPTIONS = np.array([[1, 4, 5, 2, 0, 0], [1, 6, 2, 0, 0, 0], [1, 4, 4, 4, 3, 2]])
FEATURES = np.random.default_rng(6).standard_normal((3, 4))


def model(dropout: Dropout = NO_DROPOUT) -> CaptioningRNN:
    rng = np.random.default_rng(5)
    params = {name: 0.7 * rng.standard_normal(shape) for name, shape in SIZES.shapes().items()}
    return CaptioningRNN(SIZES, params, dropout=dropout)


@pytest.mark.parametrize("kind", ["features", "words", "hidden"])
def test_dropout_draws_noise_from_the_generator(kind: str) -> None:
    m = model(Dropout(**{kind: 0.5}))
    same = [m.loss(FEATURES, CAPTIONS, np.random.default_rng(1))[0] for _ in range(2)]
    others = {m.loss(FEATURES, CAPTIONS, np.random.default_rng(seed))[0] for seed in range(20)}
    assert same[0] == same[1]
    assert len(others) > 10


def test_no_dropout_without_a_generator() -> None:
    dropping, plain = model(Dropout(0.5, 0.5, 0.5)), model()
    assert dropping.loss(FEATURES, CAPTIONS)[0] == plain.loss(FEATURES, CAPTIONS)[0]
    assert plain.loss(FEATURES, CAPTIONS, np.random.default_rng(0))[0] == plain.loss(FEATURES, CAPTIONS)[0]
    np.testing.assert_array_equal(dropping.word_losses(FEATURES, CAPTIONS), plain.word_losses(FEATURES, CAPTIONS))
    np.testing.assert_array_equal(dropping.start(FEATURES)[0], plain.start(FEATURES)[0])


def test_dropout_preserves_the_mean_loss_near_0() -> None:
    """With scores near 0 the loss is almost linear in h, so its mean is the loss without dropout."""
    m, plain = model(Dropout(hidden=0.5)), model()
    for one in (m, plain):
        one.params["W_vocab"] *= 1e-3
    captions = np.array([[1, 4, 5, 2]] * 50)
    images = np.repeat(FEATURES[:1], 50, axis=0)
    losses = [m.loss(images, captions, np.random.default_rng(seed))[0] for seed in range(40)]
    error = np.std(losses) / math.sqrt(40)
    assert abs(np.mean(losses) - plain.loss(images, captions)[0]) < 4 * error
    assert error > 0


def test_word_dropout_is_independent_at_each_position() -> None:
    """Word vectors of size 1: the loss reveals how many of three positions are dropped."""
    shape = Sizes(vocab=3, feature=1, wordvec=1, hidden=1, cell="rnn")
    params = initial_params(shape, np.zeros, np.float64)
    params["W_embed"][1], params["Wx"][0], params["W_vocab"][0] = 1, 1, [0, 1, 2]
    m = CaptioningRNN(shape, params, dropout=Dropout(words=0.5))
    losses = {m.loss(np.zeros((1, 1)), np.array([[1, 1, 1, 1]]), np.random.default_rng(seed))[0] for seed in range(60)}
    assert len({round(loss, 9) for loss in losses}) == 4
