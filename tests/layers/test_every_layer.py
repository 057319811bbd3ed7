"""All layers of the table: exact gradients, purity, and the precision of the inputs."""

from typing import Any

import numpy as np
import pytest

from captioner.gradcheck.cases import LAYERS, letters_of
from captioner.gradcheck.layer_case import layer_case
from captioner.gradcheck.numeric import check_gradients
from captioner.model.parameters import Sizes

SIZES = Sizes(vocab=6, feature=4, wordvec=3, hidden=4)


def as_tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


def inputs_and_douts(name: str, dtype: type = np.float64) -> tuple[dict[str, Any], list[Any]]:
    rng = np.random.default_rng(3)
    arrays = layer_case(name, LAYERS[name], letters_of(SIZES), rng).arrays
    inputs = {key: value.astype(dtype) for key, value in arrays.items()}
    outs = as_tuple(LAYERS[name].forward(*inputs.values())[0])
    return inputs, [rng.standard_normal(np.shape(out)).astype(dtype) for out in outs]


@pytest.mark.parametrize("name", LAYERS)
def test_all_elements_of_all_gradients(name: str) -> None:
    rng = np.random.default_rng(0)
    rows = list(check_gradients(layer_case(name, LAYERS[name], letters_of(SIZES), rng), rng, full=True))
    assert [row.array for row in rows] == list(LAYERS[name].shapes)
    assert all(row.passed and row.check == "elements" for row in rows), rows


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_deterministic_and_do_not_modify_their_inputs(name: str) -> None:
    inputs, douts = inputs_and_douts(name)
    before = [np.copy(a) for a in (*inputs.values(), *douts)]
    runs = []
    for _ in range(2):
        outs, cache = LAYERS[name].forward(*inputs.values())
        grads = as_tuple(LAYERS[name].backward(*douts, cache))
        assert len(grads) == len(inputs)
        runs.append([(a, np.copy(a)) for a in (*as_tuple(outs), *grads)])
    for (first, copy), (second, _) in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, copy, err_msg="a later call overwrites an earlier result")
        np.testing.assert_array_equal(second, copy)
    for array, copy in zip((*inputs.values(), *douts), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("name", LAYERS)
def test_float32_is_float64_rounded(name: str) -> None:
    results = {}
    for dtype in (np.float32, np.float64):
        inputs, douts = inputs_and_douts(name, dtype)
        outs, cache = LAYERS[name].forward(*inputs.values())
        results[dtype] = (*as_tuple(outs), *as_tuple(LAYERS[name].backward(*douts, cache)))
        # A loss is a Python float for any dtype.
        assert {np.asarray(a).dtype for a in results[dtype] if np.ndim(a)} == {np.dtype(dtype)}
    for single, exact in zip(results[np.float32], results[np.float64], strict=True):
        np.testing.assert_allclose(single, exact, atol=2e-5, rtol=2e-5)
