"""The inference model: a copy of the weights, with a cache of input projections."""

import numpy as np
import pytest
from trees import model

from captioner.model.inference_model import BLOCK


def test_each_block_of_words_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    m, projected = model(0, vocab=2 * BLOCK + 8), []
    inference, state = m.for_inference(), m.start(np.zeros((4, 4)))
    product = inference._Wx.product

    def counting(x: np.ndarray) -> np.ndarray:
        projected.append(len(x))
        return product(x)

    monkeypatch.setattr(inference._Wx, "product", counting)
    for tokens in ([1, 1, 1, 1], [5, 2 * BLOCK, 5, 1], [6, 7, 1, BLOCK]):
        _, state = inference.step(np.array(tokens), state)
    assert projected == [BLOCK, 8, BLOCK]


def test_a_word_has_the_same_log_probabilities_whatever_came_before() -> None:
    m = model(0, vocab=2 * BLOCK, dtype=np.float32)
    tokens, state = np.array([5, 6, 40]), m.start(np.ones((3, 4), np.float32))
    fresh, used = m.for_inference(), m.for_inference()
    for before in (5, 40, 7):
        used.step(np.full(1, before), m.start(np.ones((1, 4), np.float32)))
    expected = fresh.step(tokens, state)[0].copy()
    np.testing.assert_array_equal(used.step(tokens, state)[0], expected)


def test_the_inference_model_is_a_copy() -> None:
    m = model(0)
    tokens, state = np.array([5, 6]), m.start(np.ones((2, 4)))
    expected = m.step(tokens, state)[0].copy()
    inference = m.for_inference()
    for w in m.params.values():
        w *= 3
    np.testing.assert_array_equal(inference.step(tokens, state)[0], expected)
