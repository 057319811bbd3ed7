"""The names, signatures and defaults of the assignment's API."""

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from captioner import cs231n
from captioner.cs231n.captioning_solver import CaptioningSolver
from captioner.cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from captioner.cs231n.optim import adam, rmsprop, sgd, sgd_momentum

SIGNATURES = {
    "affine_forward": "x, w, b",
    "affine_backward": "dout, cache",
    "rnn_step_forward": "x, prev_h, Wx, Wh, b",
    "rnn_step_backward": "dnext_h, cache",
    "rnn_forward": "x, h0, Wx, Wh, b",
    "rnn_backward": "dh, cache",
    "word_embedding_forward": "x, W",
    "word_embedding_backward": "dout, cache",
    "sigmoid": "x",
    "lstm_step_forward": "x, prev_h, prev_c, Wx, Wh, b",
    "lstm_step_backward": "dnext_h, dnext_c, cache",
    "lstm_forward": "x, h0, Wx, Wh, b",
    "lstm_backward": "dh, cache",
    "temporal_affine_forward": "x, w, b",
    "temporal_affine_backward": "dout, cache",
    "temporal_softmax_loss": "x, y, mask, verbose=False",
    "sgd": "w, dw, config=None",
    "sgd_momentum": "w, dw, config=None",
    "rmsprop": "w, dw, config=None",
    "adam": "w, dw, config=None",
    "CaptioningRNN": (
        "word_to_idx, input_dim=512, wordvec_dim=128, hidden_dim=128, cell_type='rnn', dtype=<class 'numpy.float32'>"
    ),
    "dot_product_attention_forward": "prev_h, A",
    "dot_product_attention_backward": "dattn, dattn_weights, cache",
    "attention_forward": "x, A, Wx, Wh, Wattn, b",
    "attention_backward": "dh, cache",
    "positional_encoding": "max_len, embed_dim",
    "layernorm_forward": "x, gamma, beta, ln_param",
    "layernorm_backward": "dout, cache",
    "multi_head_attention_forward": "query, key, value, params, num_heads, attn_mask=None",
    "multi_head_attention_backward": "dout, cache",
    "decoder_layer_forward": "tgt, memory, params, num_heads, tgt_mask=None",
    "decoder_layer_backward": "dout, cache",
    "load_coco_data": "base_dir='cs231n/datasets/coco_captioning', max_train=None, pca_features=True",
    "sample_coco_minibatch": "data, batch_size=100, split='train'",
    "decode_captions": "captions, idx_to_word",
    "eval_numerical_gradient": "f, x, verbose=True, h=1e-05",
    "eval_numerical_gradient_array": "f, x, df, h=1e-05",
}


def parameters(function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    plain = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)).strip("()")


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_match_the_assignment(name: str) -> None:
    assert parameters(getattr(cs231n, name)) == SIGNATURES[name]


def test_the_solvers_keywords_and_defaults() -> None:
    signature = inspect.signature(CaptioningSolver).parameters
    assert list(signature)[:2] == ["model", "data"]
    defaults = {name: p.default for name, p in signature.items() if p.kind == p.KEYWORD_ONLY}
    assert defaults.pop("optim_config") in (None, {})
    counts = {"batch_size": 100, "num_epochs": 10, "print_every": 10}
    assert defaults == {"update_rule": "sgd", "lr_decay": 1.0, "verbose": True, **counts}


def test_a_star_import_is_exactly_the_api() -> None:
    names: dict[str, Any] = {}
    exec("from captioner.cs231n import *", names)
    imported = {name: value for name, value in names.items() if not isinstance(value, ModuleType | dict)}
    assert imported.keys() == {*SIGNATURES, "CaptioningSolver"}
    for name, value in imported.items():
        assert value.__name__ == name
        assert value.__doc__


W, DW = np.array([[1.0, -2.0], [0.5, 4.0]]), np.array([[0.1, 0.2], [-0.3, 0.4]])


ADAM = {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "m": 0.1 * DW, "v": 0.001 * DW**2, "t": 1}
every_rule = pytest.mark.parametrize("rule", [sgd, sgd_momentum, rmsprop, adam])


@pytest.mark.parametrize(
    ("rule", "filled"),
    [
        (sgd, {"learning_rate": 1e-2}),
        (sgd_momentum, {"learning_rate": 1e-2, "momentum": 0.9, "velocity": -1e-2 * DW}),
        (rmsprop, {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8, "cache": 0.01 * DW**2}),
        (adam, ADAM),
    ],
)
def test_configs_have_the_assignments_keys(rule: Callable[..., Any], filled: dict[str, Any]) -> None:
    for start in (None, {}):
        next_w, config = rule(W, DW, start)
        assert config.keys() == filled.keys()
        for key, value in filled.items():
            np.testing.assert_allclose(config[key], value, rtol=1e-12, err_msg=key)
        assert next_w.shape == W.shape
        assert start is None or config is start


@every_rule
def test_update_rules_modify_only_their_config(rule: Callable[..., Any]) -> None:
    w, dw = W.copy(), DW.copy()
    _, config = rule(w, dw)
    slots = {key: value for key, value in config.items() if isinstance(value, np.ndarray)}
    kept = {key: value.copy() for key, value in slots.items()}
    rule(w, dw, config)
    np.testing.assert_array_equal(w, W)
    np.testing.assert_array_equal(dw, DW)
    for key, value in slots.items():
        np.testing.assert_array_equal(value, kept[key])


@every_rule
def test_update_rules_preserve_float32(rule: Callable[..., Any]) -> None:
    next_w, config = rule(W.astype(np.float32), DW.astype(np.float32))
    next_w, config = rule(next_w, DW.astype(np.float32), config)
    arrays = [next_w, *(value for value in config.values() if isinstance(value, np.ndarray))]
    assert {a.dtype for a in arrays} == {np.dtype(np.float32)}


def test_numeric_gradients_are_central_differences_and_restore_x(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.array([[0.3, -1.0], [2.0, 0.0]])
    kept, df = x.copy(), np.array([[1.0, 2.0], [-1.0, 0.5]])
    np.testing.assert_allclose(eval_numerical_gradient(lambda x: (x**3).sum(), x, False), 3 * x**2, atol=1e-8)
    np.testing.assert_allclose(eval_numerical_gradient_array(lambda x: x**2, x, df), 2 * x * df, atol=1e-8)
    np.testing.assert_allclose(eval_numerical_gradient_array(lambda x: x, x, df), df, atol=1e-8)
    half = eval_numerical_gradient(lambda x: abs(x).sum(), x, False, h=0.5)
    np.testing.assert_allclose(half, [[0.6, -1], [1, 0]], atol=1e-12)
    np.testing.assert_array_equal(x, kept)
    assert capsys.readouterr().out == ""


def test_attention_preserves_float32() -> None:
    shapes = (3, 4, 2), (3, 5, 4, 4), (2, 20), (5, 20), (5, 20), (20,)
    h, cache = cs231n.attention_forward(*(np.ones(shape, np.float32) for shape in shapes))
    assert {a.dtype for a in (h, *cs231n.attention_backward(h, cache))} == {np.dtype(np.float32)}
