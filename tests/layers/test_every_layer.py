"""All layers of the table: exact gradients, purity, and the precision of the inputs."""

from typing import Any

import numpy as np
import pytest

from captioner.gradcheck.cases import LAYERS, layer_case
from captioner.gradcheck.numeric import check
from captioner.layers import CELLS
from captioner.model.parameters import Sizes

SIZES = Sizes(vocab=6, feature=4, wordvec=3, hidden=4)


def as_tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def inputs_and_douts(name: str, dtype: type = np.float64) -> tuple[dict[str, Any], list[Any]]:
    rng = np.random.default_rng(3)
    arrays = layer_case(name, LAYERS[name], SIZES, rng).arrays
    inputs = {key: value.astype(dtype) for key, value in arrays.items()}
    outs = as_tuple(LAYERS[name].forward(*inputs.values())[0])
    return inputs, [rng.standard_normal(np.shape(out)).astype(dtype) for out in outs]


def test_every_cell_is_in_the_table() -> None:
    assert {f"{cell}_{path}" for cell in CELLS for path in ("step", "scan")} <= LAYERS.keys()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", LAYERS)
def test_all_elements_of_all_gradients(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = list(check(layer_case(name, LAYERS[name], SIZES, rng), rng, full=True))
    assert [row.array for row in rows] == list(LAYERS[name].shapes)
    assert all(row.passed and row.check == "elements" for row in rows), rows


@pytest.mark.parametrize("name", LAYERS)
def test_inputs_are_not_modified(name: str) -> None:
    inputs, douts = inputs_and_douts(name)
    kept, douts_kept = {key: value.copy() for key, value in inputs.items()}, [d.copy() for d in douts]
    _, cache = LAYERS[name].forward(*inputs.values())
    LAYERS[name].backward(*douts, cache)
    for key, value in inputs.items():
        np.testing.assert_array_equal(value, kept[key], err_msg=key)
    for dout, before in zip(douts, douts_kept, strict=True):
        np.testing.assert_array_equal(dout, before)


@pytest.mark.parametrize("name", LAYERS)
def test_forward_and_backward_are_deterministic(name: str) -> None:
    inputs, douts = inputs_and_douts(name)
    layer = LAYERS[name]
    outs, cache = layer.forward(*inputs.values())
    first = as_tuple(layer.backward(*douts, cache))
    kept = [np.copy(grad) for grad in first]
    again, _ = layer.forward(*inputs.values())
    second = as_tuple(layer.backward(*douts, cache))
    for a, b in zip(as_tuple(outs), as_tuple(again), strict=True):
        np.testing.assert_array_equal(a, b)
    for grad, before, after in zip(first, kept, second, strict=True):
        np.testing.assert_array_equal(grad, before)
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_have_the_dtype_of_the_inputs(name: str, dtype: type) -> None:
    inputs, douts = inputs_and_douts(name, dtype)
    outs, cache = LAYERS[name].forward(*inputs.values())
    grads = as_tuple(LAYERS[name].backward(*douts, cache))
    # A loss is a Python float for any dtype.
    kinds = {np.asarray(a).dtype for a in (*as_tuple(outs), *grads) if np.ndim(a)}
    assert kinds == {np.dtype(dtype)}


@pytest.mark.parametrize("name", LAYERS)
def test_float32_is_float64_rounded(name: str) -> None:
    inputs, douts = inputs_and_douts(name)
    _, cache = LAYERS[name].forward(*inputs.values())
    exact = as_tuple(LAYERS[name].backward(*douts, cache))
    _, cache = LAYERS[name].forward(*(value.astype(np.float32) for value in inputs.values()))
    single = as_tuple(LAYERS[name].backward(*(d.astype(np.float32) for d in douts), cache))
    for a, b in zip(exact, single, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5)
