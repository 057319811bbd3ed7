"""The inference model: a copy of the weights, with a cache of input projections."""

import numpy as np
import pytest
from trees import model


def test_each_word_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    m, projected = model(0, vocab=8), []
    inference, state = m.for_inference(), m.start(np.zeros((4, 4)))
    product = inference._Wx.product

    def counting(x: np.ndarray) -> np.ndarray:
        projected.append(len(x))
        return product(x)

    monkeypatch.setattr(inference._Wx, "product", counting)
    for tokens in ([1, 1, 1, 1], [5, 6, 5, 1], [6, 7, 1, 5]):
        _, state = inference.step(np.array(tokens), state)
    assert projected == [1, 2, 1]


def test_the_inference_model_is_a_copy() -> None:
    m = model(0)
    tokens, state = np.array([5, 6]), m.start(np.ones((2, 4)))
    expected = m.step(tokens, state)[0].copy()
    inference = m.for_inference()
    for w in m.params.values():
        w *= 3
    np.testing.assert_array_equal(inference.step(tokens, state)[0], expected)
