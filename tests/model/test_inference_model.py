"""The inference model, and decoding with a thread pool."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from captioner.decode import beam, greedy
from captioner.decode.parallel import parallel_decoder
from captioner.layers import CELLS
from captioner.layers.cell import step_forward
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes
from captioner.parallel.thread_pool import ThreadPool

WORDS: dict[str, Any] = {"start": 1, "end": 2, "null": 0, "max_length": 8}


def model(cell: str) -> CaptioningRNN:
    sizes = Sizes(vocab=30, feature=4, wordvec=3, hidden=5, cell=cell)
    rng = np.random.default_rng(0)
    return CaptioningRNN(sizes, {name: rng.standard_normal(shape) for name, shape in sizes.shapes().items()})


@pytest.mark.parametrize("cell", CELLS)
def test_inference_steps_match_the_layers(cell: str) -> None:
    m = model(cell)
    p, inference, state = m.params, m.for_inference(), m.start(np.random.default_rng(1).standard_normal((6, 4)))
    expected = state
    for tokens in ([1, 1, 1, 1, 1, 1], [5, 7, 5, 29, 0, 2], [7, 7, 1, 28, 5, 0]):
        ids = np.array(tokens)
        expected, _ = step_forward(m.cell, p["W_embed"][ids], expected, p["Wx"], p["Wh"], p["b"])
        log_probs, state = inference.step(ids, state)
        scores = expected[0] @ p["W_vocab"] + p["b_vocab"]
        np.testing.assert_allclose(log_probs, scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), atol=1e-12)
        for got, want in zip(state, expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-12)


def test_each_word_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    m, projected = model("lstm"), []
    inference, state = m.for_inference(), m.start(np.zeros((4, 4)))
    product = inference._Wx.product

    def counting(x: np.ndarray) -> np.ndarray:
        projected.append(len(x))
        return product(x)

    monkeypatch.setattr(inference._Wx, "product", counting)
    for tokens in ([1, 1, 1, 1], [5, 6, 5, 1], [6, 7, 1, 5]):
        _, state = inference.step(np.array(tokens), state)
    assert projected == [1, 2, 1]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("decode", [greedy, partial(beam, width=3)])
@pytest.mark.parametrize("images", [1, 2, 7])
def test_parallel_decoding_does_not_depend_on_the_pool(size: int, decode: Any, images: int) -> None:
    m, features = model("lstm"), np.random.default_rng(1).standard_normal((images, 4))
    tokens, scores = decode(m.for_inference().step, m.start(features), **WORDS)
    written, written_scores = parallel_decoder(m, ThreadPool(size))(partial(decode, **WORDS), features)
    np.testing.assert_array_equal(written, tokens)
    np.testing.assert_allclose(written_scores, scores, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_row_arrays_are_sharded_with_the_images(size: int) -> None:
    def decode(step: Any, state: Any, *rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert {len(array) for array in rows} == {len(state[0])}
        return np.stack(rows, axis=1), state[0][:, :1]

    m, features = model("rnn"), np.random.default_rng(0).standard_normal((4, 4))
    numbers, states = parallel_decoder(m, ThreadPool(size))(decode, features, np.arange(4), np.arange(4) + 10)
    assert numbers.tolist() == [[0, 10], [1, 11], [2, 12], [3, 13]]
    np.testing.assert_allclose(states[:, 0], m.start(features)[0][:, 0], atol=1e-12)


def test_the_inference_model_is_a_copy() -> None:
    m = model("lstm")
    tokens, state = np.array([5, 7]), m.start(np.ones((2, 4)))
    expected = m.step(tokens, state)[0].copy()
    inference = m.for_inference()
    for w in m.params.values():
        w *= 3
    np.testing.assert_array_equal(inference.step(tokens, state)[0], expected)


def test_models_are_prepared_once_per_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    m, made = model("rnn"), []
    original = m.for_inference
    monkeypatch.setattr(m, "for_inference", lambda: made.append(1) or original())
    run = parallel_decoder(m, ThreadPool(3))
    for images, models in ((1, 1), (1, 1), (5, 3), (2, 3)):
        assert run(partial(greedy, **WORDS), np.ones((images, 4)))[0].shape == (images, 1, 8)
        assert len(made) == models
    assert run(partial(beam, width=2, **WORDS), np.ones((4, 4)))[0].shape == (4, 2, 8)
    assert len(made) == 3, "another decoder uses the same models"
