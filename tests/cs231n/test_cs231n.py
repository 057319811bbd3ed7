"""The assignment's API: signatures, model, sampling and update rules."""

import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from captioner import cs231n
from captioner.cs231n.captioning_solver import CaptioningSolver
from captioner.cs231n.classifiers.rnn import CaptioningRNN
from captioner.cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array
from captioner.cs231n.optim import adam, rmsprop, sgd, sgd_momentum

Array = np.ndarray
WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "red", "ball", "near", "dog"]
WORD_TO_IDX = {word: i for i, word in enumerate(WORDS)}
V = len(WORDS)
every_cell = pytest.mark.parametrize("cell", ["rnn", "lstm"])

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


def model(cell: str = "rnn", dtype: type = np.float64, **sizes: int) -> CaptioningRNN:
    sizes = {"input_dim": 6, "wordvec_dim": 5, "hidden_dim": 8, **sizes}
    return CaptioningRNN(WORD_TO_IDX, **sizes, cell_type=cell, dtype=dtype)


@every_cell
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_parameters_are_bit_identical_to_the_assignments(cell: str, dtype: type) -> None:
    np.random.seed(231)
    params = model(cell, dtype).params
    after = np.random.rand()

    np.random.seed(231)
    gates = {"rnn": 1, "lstm": 4}[cell] * 8
    expected = {
        "W_embed": np.random.randn(V, 5) / 100,
        "W_proj": np.random.randn(6, 8) / np.sqrt(6),
        "b_proj": np.zeros(8),
        "Wx": np.random.randn(5, gates) / np.sqrt(5),
        "Wh": np.random.randn(8, gates) / np.sqrt(8),
        "b": np.zeros(gates),
        "W_vocab": np.random.randn(8, V) / np.sqrt(8),
        "b_vocab": np.zeros(V),
    }
    assert list(params) == list(expected)
    for name, w in expected.items():
        assert params[name].dtype == dtype
        np.testing.assert_array_equal(params[name], w.astype(dtype), err_msg=name)
    assert np.random.rand() == after


def test_an_unsupported_cell_raises() -> None:
    with pytest.raises(ValueError, match="transformer"):
        CaptioningRNN(WORD_TO_IDX, cell_type="transformer")


def test_the_notebooks_attributes() -> None:
    m = model("lstm")
    assert (m.cell_type, m.dtype, m.word_to_idx) == ("lstm", np.float64, WORD_TO_IDX)
    assert m.idx_to_word == dict(enumerate(WORDS))


@every_cell
def test_params_may_be_replaced_array_by_array_or_all_at_once(cell: str) -> None:
    features, captions = np.ones((2, 6)), np.array([[1, 4, 2], [1, 5, 2]])
    m = model(cell)
    before = m.loss(features, captions)[0]
    kept = dict(m.params)
    for k, v in m.params.items():
        m.params[k] = np.zeros_like(v)
    assert m.loss(features, captions)[0] == pytest.approx(2 * np.log(V))
    m.params = kept
    assert m.loss(features, captions)[0] == before


@every_cell
def test_null_is_masked_by_its_id_in_the_vocabulary(cell: str) -> None:
    moved = {word: (i + 3) % V for word, i in WORD_TO_IDX.items()}
    np.random.seed(0)
    usual = model(cell)
    np.random.seed(0)
    other = CaptioningRNN(moved, 6, 5, 8, cell, np.float64)
    features, captions = np.random.randn(2, 6), np.array([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0]])
    # The same model with renumbered words.
    roll = np.roll(np.arange(V), 3)
    for name, axis in (("W_embed", 0), ("W_vocab", 1)):
        other.params[name] = np.take(usual.params[name], roll, axis)
    assert other.loss(features, (captions + 3) % V)[0] == pytest.approx(usual.loss(features, captions)[0], abs=1e-12)


def markov_model(following: dict[str, str]) -> CaptioningRNN:
    """An RNN in which h is the one-hot input word and W_vocab maps it to the next word."""
    m = model("rnn", wordvec_dim=V, hidden_dim=V)
    m.params.update(W_embed=np.eye(V), Wx=20 * np.eye(V), Wh=np.zeros((V, V)), W_vocab=np.zeros((V, V)))
    for word, after in following.items():
        m.params["W_vocab"][WORD_TO_IDX[word], WORD_TO_IDX[after]] = 5
    return m


def test_sample_is_the_argmax_and_null_after_end() -> None:
    chain = ["<START>", "<UNK>", "a", "<NULL>", "red", "<END>", "dog"]
    m = markov_model(dict(pairwise(chain)))
    captions = m.sample(np.ones((3, 6)), max_length=8)
    assert captions.dtype == np.int32
    assert captions.shape == (3, 8)
    assert (captions == [WORD_TO_IDX[word] for word in [*chain[1:6], "<NULL>", "<NULL>", "<NULL>"]]).all()
    assert m.sample(np.ones((2, 6)), max_length=3).tolist() == captions[:2, :3].tolist()
    assert m.sample(np.ones((2, 6))).shape == (2, 30)


def test_sample_may_repeat_start() -> None:
    m = markov_model({"<START>": "<START>"})
    assert (m.sample(np.ones((1, 6)), max_length=4) == WORD_TO_IDX["<START>"]).all()


@every_cell
def test_sample_matches_the_step_functions(cell: str) -> None:
    """Against the assignment's method: step functions and the argmax of the scores."""
    np.random.seed(0)
    m, features = model(cell), np.random.randn(5, 6)
    for w in m.params.values():
        w *= 4
    p = m.params
    h, c, words, expected = features @ p["W_proj"] + p["b_proj"], np.zeros((5, 8)), np.full(5, 1), []
    for _ in range(12):
        x = p["W_embed"][words]
        if cell == "rnn":
            h, _ = cs231n.rnn_step_forward(x, h, p["Wx"], p["Wh"], p["b"])
        else:
            h, c, _ = cs231n.lstm_step_forward(x, h, c, p["Wx"], p["Wh"], p["b"])
        words = (h @ p["W_vocab"] + p["b_vocab"]).argmax(axis=1)
        expected.append(words)
    sampled = m.sample(features, max_length=12)
    for got, unended in zip(sampled, np.stack(expected, axis=1).tolist(), strict=True):
        length = unended.index(2) + 1 if 2 in unended else 12
        assert got.tolist() == unended[:length] + [0] * (12 - length)


@pytest.mark.parametrize("missing", ["<START>", "<END>"])
def test_sample_needs_start_and_end(missing: str) -> None:
    words = {word: i for word, i in WORD_TO_IDX.items() if word != missing}
    m = CaptioningRNN(words, 6, 5, 8)
    with pytest.raises(ValueError, match=f"needs .*{missing}"):
        m.sample(np.ones((1, 6)))


W, DW = np.array([[1.0, -2.0], [0.5, 4.0]]), np.array([[0.1, 0.2], [-0.3, 0.4]])


@pytest.mark.parametrize(
    ("rule", "filled"),
    [
        (sgd, {"learning_rate": 1e-2}),
        (sgd_momentum, {"learning_rate": 1e-2, "momentum": 0.9, "velocity": -1e-2 * DW}),
        (rmsprop, {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8, "cache": 0.01 * DW**2}),
        (
            adam,
            {
                "learning_rate": 1e-3,
                "beta1": 0.9,
                "beta2": 0.999,
                "epsilon": 1e-8,
                "m": 0.1 * DW,
                "v": 0.001 * DW**2,
                "t": 1,
            },
        ),
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


@pytest.mark.parametrize("rule", [sgd, sgd_momentum, rmsprop, adam])
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


@pytest.mark.parametrize("rule", [sgd, sgd_momentum, rmsprop, adam])
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
