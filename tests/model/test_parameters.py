"""Model parameters: shapes, initialization and error messages."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.arrays import Batch
from captioner.errors import DataError
from captioner.layers import CELLS
from captioner.model.build import add_forget_bias, initial_params, log_frequency_bias, parameter_shapes
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes

V, F = 7, 4
SIZES = Sizes(vocab=V, feature=F, wordvec=3, hidden=5)


def test_shapes() -> None:
    shapes = parameter_shapes(Sizes(9, 8, 7, 6, "lstm"))
    assert list(shapes) == ["W_embed", "W_proj", "b_proj", "Wx", "Wh", "b", "W_vocab", "b_vocab"]
    assert list(shapes.values()) == [(9, 7), (8, 6), (6,), (7, 24), (6, 24), (24,), (6, 9), (9,)]
    assert parameter_shapes(Sizes(9, 8, 7, 6, "rnn"))["Wx"] == (7, 6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_initial_parameters(cell: str, dtype: type) -> None:
    big = Sizes(vocab=200, feature=150, wordvec=120, hidden=100, decoder=cell)
    params = initial_params(big, np.random.default_rng(0).standard_normal, dtype)
    assert {name: w.shape for name, w in params.items()} == parameter_shapes(big)
    assert {w.dtype for w in params.values()} == {np.dtype(dtype)}
    for name, w in params.items():
        deviation = 0 if w.ndim == 1 else 0.01 if name == "W_embed" else 1 / math.sqrt(len(w))
        assert w.std() == pytest.approx(deviation, rel=0.05)
        assert abs(w.mean()) <= 4 * deviation / math.sqrt(w.size)


def test_the_forget_bias_keeps_the_cell_state() -> None:
    params = initial_params(SIZES, np.zeros, np.float64)
    add_forget_bias(params, SIZES, 50.0)
    model = CaptioningRNN(SIZES, params)
    cell_state = np.random.default_rng(0).standard_normal((2, 5))
    _, (_, kept) = model.step(np.array([1, 4]), (np.zeros((2, 5)), cell_state))
    np.testing.assert_array_equal(kept, cell_state)
    assert params["b"].sum() == 5 * 50
    assert all((w == 0).all() for name, w in params.items() if name != "b")


@pytest.mark.parametrize(("cell", "before", "after"), [("lstm", 5, 10), ("rnn", 0, 0)])
def test_the_forget_bias_is_added_to_the_forget_gate(cell: str, before: int, after: int) -> None:
    sizes = dataclasses.replace(SIZES, decoder=cell)
    params = {"b": np.ones(parameter_shapes(sizes)["b"])}
    add_forget_bias(params, sizes, 0.5)
    assert np.flatnonzero(params["b"] != 1).tolist() == list(range(before, after))
    assert (params["b"][before:after] == 1.5).all()


@pytest.mark.parametrize("name", parameter_shapes(SIZES))
@pytest.mark.parametrize("wrong", ["of another shape", "transposed", "missing"])
def test_a_parameter_of_unexpected_shape_is_reported(name: str, wrong: str) -> None:
    params = initial_params(SIZES, np.zeros)
    expected = params[name].shape
    params[name] = np.zeros((2, 3, 4), np.float32) if wrong == "of another shape" else params[name].T
    got = params[name].shape
    if wrong == "missing":
        del params[name]
        got = "nothing"
    if got != expected:  # a transposed vector is no mistake
        with pytest.raises(DataError) as error:
            CaptioningRNN(SIZES, params)
        assert str(error.value) == f"parameter {name}: expected {expected}, got {got}"


@given(st.lists(st.lists(st.integers(0, V - 1), min_size=4, max_size=4), min_size=1, max_size=6))
def test_the_output_bias_is_the_log_frequency_of_targets(captions: list[list[int]]) -> None:
    bias = log_frequency_bias(np.array(captions), V, null=0)
    counts = [1 + sum(row[1:].count(word) for row in captions) if word else 1 for word in range(V)]
    np.testing.assert_allclose(bias, np.log(np.array(counts) / sum(counts)), atol=1e-14)
    assert math.fsum(np.exp(bias)) == pytest.approx(1)


def test_with_log_frequency_bias_the_initial_loss_is_the_unigram_entropy() -> None:
    captions = np.random.default_rng(0).choice([3, 4, 4, 4, 5, 5], (500, 7))
    captions[:, 0] = 1
    params = initial_params(SIZES, np.zeros, np.float64)
    params["b_vocab"] = log_frequency_bias(captions, V, null=0)
    words = CaptioningRNN(SIZES, params).word_losses(Batch(np.zeros((500, F)), captions))
    counts = np.bincount(captions[:, 1:].ravel(), minlength=V)
    frequencies = counts[counts > 0] / counts.sum()
    assert words.mean() == pytest.approx(-(frequencies * np.log(frequencies)).sum(), abs=0.01)


def test_parameters_have_a_fixed_order() -> None:
    params = initial_params(SIZES, np.random.default_rng(0).standard_normal)
    shuffled = {name: params[name] for name in sorted(params)}
    assert list(shuffled) != list(params)
    model = CaptioningRNN(SIZES, shuffled)
    assert list(model.params) == list(model.with_params(shuffled).params) == list(parameter_shapes(SIZES))
    assert all(model.params[name] is params[name] for name in params)
