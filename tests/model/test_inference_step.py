"""Decoding reads a model as it stands, the same with any team."""

from functools import partial
from typing import Any

import numpy as np
import pytest

from captioner.decode import beam, greedy
from captioner.decode.parallel import writer
from captioner.layers import CELLS
from captioner.layers.cell import project, step_forward
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes
from captioner.parallel.thread_pool import ThreadPool

WORDS: dict[str, Any] = {"start": 1, "end": 2, "null": 0, "max_length": 8}


def model(cell: str) -> CaptioningRNN:
    sizes = Sizes(vocab=30, feature=4, wordvec=3, hidden=5, cell=cell)
    rng = np.random.default_rng(0)
    return CaptioningRNN(sizes, {name: rng.standard_normal(shape) for name, shape in sizes.shapes().items()})


@pytest.mark.parametrize("cell", CELLS)
def test_reading_is_the_step_of_the_layers(cell: str) -> None:
    one = model(cell)
    p, reader, state = one.params, one.reader(), one.start(np.random.default_rng(1).standard_normal((6, 4)))
    expected = state
    for tokens in ([1, 1, 1, 1, 1, 1], [5, 7, 5, 29, 0, 2], [7, 7, 1, 28, 5, 0]):
        ids = np.array(tokens)
        expected, _ = step_forward(one.cell, p["W_embed"][ids], expected, p["Wx"], p["Wh"], p["b"])
        log_probs, state = reader.step(ids, state)
        scores = expected[0] @ p["W_vocab"] + p["b_vocab"]
        np.testing.assert_allclose(log_probs, scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), atol=1e-12)
        for got, want in zip(state, expected, strict=True):
            np.testing.assert_allclose(got, want, atol=1e-12)


def test_a_word_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, projected = model("lstm"), []

    def counting(cell: Any, x: np.ndarray, *others: Any) -> np.ndarray:
        projected.append(len(x))
        return project(cell, x, *others)

    monkeypatch.setattr("captioner.model.inference_step.project", counting)
    reader, state = one.reader(), one.start(np.zeros((4, 4)))
    for tokens in ([1, 1, 1, 1], [5, 6, 5, 1], [6, 7, 1, 5]):
        _, state = reader.step(np.array(tokens), state)
    assert projected == [1, 2, 1]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("decode", [greedy, partial(beam, width=3)])
@pytest.mark.parametrize("images", [1, 2, 7])
def test_a_team_writes_what_one_writes(size: int, decode: Any, images: int) -> None:
    one, features = model("lstm"), np.random.default_rng(1).standard_normal((images, 4))
    tokens, scores = decode(one.reader().step, one.start(features), **WORDS)
    written, written_scores = writer(one, ThreadPool(size))(partial(decode, **WORDS), features)
    np.testing.assert_array_equal(written, tokens)
    np.testing.assert_allclose(written_scores, scores, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_further_rows_go_with_their_images(size: int) -> None:
    def decode(step: Any, state: Any, *rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert {len(some) for some in rows} == {len(state[0])}
        return np.stack(rows, axis=1), state[0][:, :1]

    one, features = model("rnn"), np.random.default_rng(0).standard_normal((4, 4))
    found, states = writer(one, ThreadPool(size))(decode, features, np.arange(4), np.arange(4) + 10)
    assert found.tolist() == [[0, 10], [1, 11], [2, 12], [3, 13]]
    np.testing.assert_allclose(states[:, 0], one.start(features)[0][:, 0], atol=1e-12)


def test_later_changes_of_the_parameters_do_not_reach_a_reader() -> None:
    one = model("lstm")
    tokens, state = np.array([5, 7]), one.start(np.ones((2, 4)))
    expected = one.step(tokens, state)[0].copy()
    reader = one.reader()
    for w in one.params.values():
        w *= 3
    np.testing.assert_array_equal(reader.step(tokens, state)[0], expected)


def test_one_image_needs_one_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    one, made = model("rnn"), []
    true = one.reader
    monkeypatch.setattr(one, "reader", lambda: made.append(1) or true())
    write = writer(one, ThreadPool(3))
    for images, readers in ((1, 1), (1, 1), (5, 3), (2, 3)):
        assert write(partial(greedy, **WORDS), np.ones((images, 4)))[0].shape == (images, 1, 8)
        assert len(made) == readers
    assert write(partial(beam, width=2, **WORDS), np.ones((4, 4)))[0].shape == (4, 2, 8)
    assert len(made) == 3, "another decoder reads by the same"
