"""The expected arrays and gradient-check bounds of the assignment's notebooks.

cs231n_notebooks.json contains the numbers of RNN_Captioning.ipynb, LSTM_Captioning.ipynb and
FullyConnectedNets.ipynb, which have eight decimals.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner.cs231n.classifiers.rnn import CaptioningRNN
from captioner.cs231n.gradient_check import eval_numerical_gradient
from captioner.cs231n.layers import affine_forward
from captioner.cs231n.optim import adam, rmsprop, sgd_momentum
from captioner.cs231n.rnn_layers import (
    lstm_forward,
    lstm_step_forward,
    rnn_forward,
    rnn_step_forward,
    temporal_softmax_loss,
    word_embedding_forward,
)

GOLDEN = json.loads((Path(__file__).parent / "cs231n_notebooks.json").read_text())
TOY = {"<NULL>": 0, "cat": 2, "dog": 3}


def ramp(first: float, last: float, *shape: int) -> Any:
    return np.linspace(first, last, num=int(np.prod(shape))).reshape(shape)


def rel_error(x: Any, y: Any) -> float:
    """The notebooks' relative error."""
    return float(np.max(np.abs(x - y) / np.maximum(1e-8, np.abs(x) + np.abs(y))))


def assert_golden(name: str, out: Any) -> None:
    np.testing.assert_allclose(out, GOLDEN[name], rtol=0, atol=6e-9)


def test_affine_forward() -> None:
    out, _ = affine_forward(ramp(-0.1, 0.5, 2, 4, 5, 6), ramp(-0.2, 0.3, 120, 3), ramp(-0.3, 0.1, 3))
    assert_golden("affine_forward", out)


def test_rnn_step_forward() -> None:
    x, prev_h, b = ramp(-0.4, 0.7, 3, 10), ramp(-0.2, 0.5, 3, 4), ramp(-0.2, 0.4, 4)
    next_h, _ = rnn_step_forward(x, prev_h, ramp(-0.1, 0.9, 10, 4), ramp(-0.3, 0.7, 4, 4), b)
    assert_golden("rnn_step_forward", next_h)


def test_rnn_forward() -> None:
    x, h0, b = ramp(-0.1, 0.3, 2, 3, 4), ramp(-0.3, 0.1, 2, 5), ramp(-0.7, 0.1, 5)
    h, _ = rnn_forward(x, h0, ramp(-0.2, 0.4, 4, 5), ramp(-0.4, 0.1, 5, 5), b)
    assert_golden("rnn_forward", h)


def test_word_embedding_forward() -> None:
    out, _ = word_embedding_forward(np.array([[0, 3, 1, 2], [2, 1, 0, 3]]), ramp(0, 1, 5, 3))
    assert_golden("word_embedding_forward", out)


def test_lstm_step_forward() -> None:
    x, prev_h, prev_c = ramp(-0.4, 1.2, 3, 4), ramp(-0.3, 0.7, 3, 5), ramp(-0.4, 0.9, 3, 5)
    Wx, Wh, b = ramp(-2.1, 1.3, 4, 20), ramp(-0.7, 2.2, 5, 20), ramp(0.3, 0.7, 20)
    next_h, next_c, _ = lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b)
    assert_golden("lstm_step_forward_h", next_h)
    assert_golden("lstm_step_forward_c", next_c)


def test_lstm_forward() -> None:
    x, h0, b = ramp(-0.4, 0.6, 2, 3, 5), ramp(-0.4, 0.8, 2, 4), ramp(0.2, 0.7, 16)
    h, _ = lstm_forward(x, h0, ramp(-0.2, 0.9, 5, 16), ramp(-0.3, 0.6, 4, 16), b)
    assert_golden("lstm_forward", h)


@pytest.mark.parametrize(("cell", "features"), [("rnn", (-1.5, 0.3)), ("lstm", (-0.5, 1.7))])
def test_captioning_loss(cell: str, features: tuple[float, float]) -> None:
    model = CaptioningRNN(TOY, input_dim=20, wordvec_dim=30, hidden_dim=40, cell_type=cell, dtype=np.float64)
    for k, v in model.params.items():
        model.params[k] = ramp(-1.4, 1.3, *v.shape)
    loss, _ = model.loss(ramp(*features, 10, 20), (np.arange(10 * 13) % 3).reshape(10, 13))
    assert abs(loss - GOLDEN[f"loss_{cell}"]) < 1e-10


def test_captioning_gradients() -> None:
    np.random.seed(231)
    captions, features = np.random.randint(3, size=(2, 3)), np.random.randn(2, 4)
    model = CaptioningRNN(TOY, input_dim=4, wordvec_dim=5, hidden_dim=6, cell_type="rnn", dtype=np.float64)
    _, grads = model.loss(features, captions)
    assert grads.keys() == model.params.keys()
    for name, grad in grads.items():
        numeric = eval_numerical_gradient(
            lambda _: model.loss(features, captions)[0], model.params[name], verbose=False, h=1e-6
        )
        assert rel_error(numeric, grad) < 5e-6, name


@pytest.mark.parametrize(
    ("words", "steps", "share", "expected"), [(100, 1, 1.0, 2.3), (100, 10, 1.0, 23), (5000, 10, 0.1, 2.3)]
)
def test_temporal_softmax_of_small_scores(words: int, steps: int, share: float, expected: float) -> None:
    np.random.seed(231)
    x, y = 0.001 * np.random.randn(words, steps, 10), np.random.randint(10, size=(words, steps))
    mask = np.random.rand(words, steps) <= share
    loss, _ = temporal_softmax_loss(x, y, mask)
    assert loss == pytest.approx(expected, rel=0.02)
    assert loss == pytest.approx(np.log(10) * mask.sum() / words, rel=1e-3)


@pytest.mark.parametrize(
    ("rule", "config"),
    [
        (sgd_momentum, {"learning_rate": 1e-3, "velocity": ramp(0.6, 0.9, 4, 5)}),
        (rmsprop, {"learning_rate": 1e-2, "cache": ramp(0.6, 0.9, 4, 5)}),
        (adam, {"learning_rate": 1e-2, "m": ramp(0.6, 0.9, 4, 5), "v": ramp(0.7, 0.5, 4, 5), "t": 5}),
    ],
)
def test_update_rules(rule: Callable[..., Any], config: dict[str, Any]) -> None:
    slots = [name for name, value in config.items() if isinstance(value, np.ndarray)]
    next_w, config = rule(ramp(-0.4, 0.6, 4, 5), ramp(-0.6, 0.4, 4, 5), config=config)
    assert_golden(f"{rule.__name__}_w", next_w)
    for slot in slots:
        assert_golden(f"{rule.__name__}_{slot}", config[slot])
