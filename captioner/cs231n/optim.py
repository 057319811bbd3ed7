"""The assignment's `cs231n/optim.py`: update rules with state and hyper-parameters in one dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from captioner.arrays import Array
from captioner.optim import UPDATE_RULES, Hyper

__all__ = ["adam", "rmsprop", "sgd", "sgd_momentum"]

Update = Callable[..., tuple[Array, dict[str, Any]]]


def _update(name: str, learning_rate: float, options: tuple[str, ...], doc: str, counts: bool = False) -> Update:
    """Wrap an update rule in the assignment's interface: state, hyper-parameters and step count t in one dict."""
    rule = UPDATE_RULES[name]

    def update(w: Array, dw: Array, config: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        config = {} if config is None else config
        config.setdefault("learning_rate", learning_rate)
        for option in options:
            config.setdefault(option, Hyper._field_defaults[option])
        for slot in rule.slots:
            config[slot] = np.array(config.get(slot, np.zeros_like(w)))
        t = config.get("t", 0) + 1
        if counts:
            config["t"] = t
        next_w = np.array(w)
        hyper = Hyper(**{field: config[field] for field in ("learning_rate", *options)})
        rule.apply(next_w, dw, tuple(config[slot] for slot in rule.slots), hyper, t, 1.0)
        return next_w, config

    update.__name__ = update.__qualname__ = name
    update.__doc__ = doc
    return update


sgd = _update("sgd", 1e-2, (), "Vanilla gradient descent; config: learning_rate.")
sgd_momentum = _update("sgd_momentum", 1e-2, ("momentum",), "Momentum; config: learning_rate, momentum, velocity.")
rmsprop = _update(
    "rmsprop", 1e-2, ("decay_rate", "epsilon"), "RMSProp; config: learning_rate, decay_rate, epsilon, cache."
)
adam = _update(
    "adam", 1e-3, ("beta1", "beta2", "epsilon"), "Adam; config: learning_rate, beta1, beta2, epsilon, m, v, t.", True
)

UPDATES: dict[str, Update] = {"sgd": sgd, "sgd_momentum": sgd_momentum, "rmsprop": rmsprop, "adam": adam}
