"""A training step in the style of CS231n's assignment 3: padded, a Python loop over time, one cache per time step.

As in the assignment, `np.zeros` promotes float32 to float64, and the first update does so for the parameters.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from benchmarks.ours import RATE
from benchmarks.shapes import NULL, Batch, Shape
from captioner.arrays import Array, Params

State: TypeAlias = tuple[Array, ...]


def rnn_step_forward(x: Array, state: State, Wx: Array, Wh: Array, b: Array) -> tuple[State, Any]:
    (prev_h,) = state
    next_h = np.tanh(x.dot(Wx) + prev_h.dot(Wh) + b)
    return (next_h,), (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dstate: State, cache: Any) -> tuple[Array, State, Array, Array, Array]:
    x, prev_h, Wx, Wh, next_h = cache
    da = dstate[0] * (1 - next_h**2)
    return da.dot(Wx.T), (da.dot(Wh.T),), x.T.dot(da), prev_h.T.dot(da), da.sum(axis=0)


def sigmoid(x: Array) -> Array:
    negative = x < 0
    z = np.zeros_like(x)
    z[~negative] = np.exp(-x[~negative])
    z[negative] = np.exp(x[negative])
    top = np.ones_like(x)
    top[negative] = z[negative]
    return np.asarray(top / (1 + z))


def lstm_step_forward(x: Array, state: State, Wx: Array, Wh: Array, b: Array) -> tuple[State, Any]:
    prev_h, prev_c = state
    ai, af, ao, ag = np.split(x.dot(Wx) + prev_h.dot(Wh) + b, 4, axis=1)
    i, f, o, g = sigmoid(ai), sigmoid(af), sigmoid(ao), np.tanh(ag)
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return (next_h, next_c), (x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c)


def lstm_step_backward(dstate: State, cache: Any) -> tuple[Array, State, Array, Array, Array]:
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c = cache
    dnext_h, dnext_c = dstate
    tanh_c = np.tanh(next_c)
    dc = dnext_c + dnext_h * o * (1 - tanh_c**2)
    di, df, do, dg = dc * g, dc * prev_c, dnext_h * tanh_c, dc * i
    da = np.hstack((di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)))
    return da.dot(Wx.T), (da.dot(Wh.T), dc * f), x.T.dot(da), prev_h.T.dot(da), da.sum(axis=0)


STEPS = {"rnn": (rnn_step_forward, rnn_step_backward, 1), "lstm": (lstm_step_forward, lstm_step_backward, 2)}
"""For every cell the forward and backward time step and the number of state arrays."""


def softmax_loss(scores: Array, y: Array, mask: Array) -> tuple[float, Array]:
    N, T, V = scores.shape
    flat, targets, live, places = scores.reshape(N * T, V), y.reshape(N * T), mask.reshape(N * T), np.arange(N * T)
    probs = np.exp(flat - np.max(flat, axis=1, keepdims=True))
    probs /= np.sum(probs, axis=1, keepdims=True)
    loss = -np.sum(live * np.log(probs[places, targets])) / N
    dflat = probs.copy()
    dflat[places, targets] -= 1
    dflat /= N
    dflat *= live[:, None]
    return float(loss), dflat.reshape(N, T, V)


def loss_and_gradients(cell: str, p: Params, features: Array, captions: Array) -> tuple[float, Params]:
    forward, backward, states = STEPS[cell]
    read, y = captions[:, :-1], captions[:, 1:]
    (N, T), (W, H) = read.shape, (p["Wx"].shape[0], p["Wh"].shape[0])
    h0 = features.dot(p["W_proj"]) + p["b_proj"]
    x = p["W_embed"][read]
    h, caches = np.zeros((N, T, H)), []
    state: State = (h0, *(np.zeros((N, H)) for _ in range(states - 1)))
    for t in range(T):
        state, cache = forward(x[:, t, :], state, p["Wx"], p["Wh"], p["b"])
        h[:, t, :] = state[0]
        state = (h[:, t, :], *state[1:])
        caches.append(cache)
    scores = h.reshape(N * T, H).dot(p["W_vocab"]).reshape(N, T, -1) + p["b_vocab"]
    loss, dscores = softmax_loss(scores, y, y != NULL)

    dflat = dscores.reshape(N * T, -1)
    dh = dflat.dot(p["W_vocab"].T).reshape(N, T, H)
    grads = {"W_vocab": h.reshape(N * T, H).T.dot(dflat), "b_vocab": dflat.sum(axis=0)}
    dx, dstate = np.zeros((N, T, W)), tuple(np.zeros((N, H)) for _ in range(states))
    dWx, dWh, db = np.zeros(p["Wx"].shape), np.zeros(p["Wh"].shape), np.zeros(p["b"].shape)
    for t in reversed(range(T)):
        dx[:, t, :], dstate, dWx_t, dWh_t, db_t = backward((dstate[0] + dh[:, t, :], *dstate[1:]), caches[t])
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    dW_embed = np.zeros(p["W_embed"].shape)
    np.add.at(dW_embed, read, dx)
    dh0 = dstate[0]
    grads |= {"W_embed": dW_embed, "Wx": dWx, "Wh": dWh, "b": db}
    return loss, grads | {"W_proj": features.T.dot(dh0), "b_proj": dh0.sum(axis=0)}


def adam(w: Array, dw: Array, config: dict[str, Any]) -> Array:
    config["t"] += 1
    config["m"] = 0.9 * config["m"] + 0.1 * dw
    config["v"] = 0.999 * config["v"] + 0.001 * dw**2
    m, v = config["m"] / (1 - 0.9 ** config["t"]), config["v"] / (1 - 0.999 ** config["t"])
    return np.asarray(w - RATE * m / (np.sqrt(v) + 1e-8))


class Loops:
    """The assignment's model and solver on one batch, without dropout and clipping."""

    def __init__(self, shape: Shape, params: Params, batch: Batch) -> None:
        self.cell, self.params, self.batch = shape.decoder, dict(params), batch
        self.configs = {n: {"m": np.zeros_like(w), "v": np.zeros_like(w), "t": 0} for n, w in params.items()}

    def gradients(self) -> tuple[float, Params]:
        return loss_and_gradients(self.cell, self.params, *self.batch)

    def step(self) -> float:
        loss, grads = self.gradients()
        for name, grad in grads.items():
            self.params[name] = adam(self.params[name], grad, self.configs[name])
        return loss
