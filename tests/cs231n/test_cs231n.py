"""The names, signatures and defaults of the assignment's API."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from captioner import cs231n
from captioner.cs231n.captioning_solver import CaptioningSolver

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
    given = inspect.signature(CaptioningSolver).parameters
    assert list(given)[:2] == ["model", "data"]
    defaults = {name: p.default for name, p in given.items() if p.kind == p.KEYWORD_ONLY}
    assert defaults.pop("optim_config") in (None, {})
    assert defaults == {
        "update_rule": "sgd",
        "lr_decay": 1.0,
        "batch_size": 100,
        "num_epochs": 10,
        "print_every": 10,
        "verbose": True,
    }


def test_a_star_import_is_exactly_the_api() -> None:
    assert sorted(cs231n.__all__) == sorted([*SIGNATURES, "CaptioningSolver"])
    for name in cs231n.__all__:
        assert getattr(cs231n, name).__name__ == name
        assert getattr(cs231n, name).__doc__
