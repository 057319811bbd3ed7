"""The mean loss per word over a split, and its perplexity."""

import copy
import math

import numpy as np
import pytest
from small_solver import assert_equal, model, split

from captioner.data.batches import sequential_batches
from captioner.model.losses import mean_word_loss, perplexity


def test_mean_word_loss_does_not_depend_on_batch_size() -> None:
    trained = model()
    features, captions = np.asarray(split().features)[split().image_idxs], split().captions
    for most in (None, 2):
        mean = trained.word_losses(features[:most], captions[:most]).mean()
        for size in (1, 3, 14):
            assert mean_word_loss(trained, sequential_batches(split(), size, most)) == pytest.approx(mean, rel=1e-6)


def test_a_uniform_model_has_loss_log_v() -> None:
    uniform = model()
    for w in uniform.params.values():
        w[...] = 0
    assert mean_word_loss(uniform, sequential_batches(split(), 4)) == pytest.approx(math.log(9))


def test_measuring_the_loss_does_not_change_parameters() -> None:
    trained = model()
    before = copy.deepcopy(trained.params)
    mean_word_loss(trained, sequential_batches(split(), 4))
    assert_equal(trained.params, before)


def test_perplexity_does_not_overflow() -> None:
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(45)) == pytest.approx(45)
    assert perplexity(1e4) == math.inf
