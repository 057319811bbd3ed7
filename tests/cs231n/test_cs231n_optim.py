"""The update rules of the assignment have its config keys and modify nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from captioner.cs231n.optim import adam, rmsprop, sgd, sgd_momentum

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
