"""Name the mistake that explains the wrong numbers of a function that is checked.

A hypothesis predicts the numbers of a mistake: those of the reference for changed arguments, or the right ones,
changed. Or it is a simpler case, in which the function may be right. It is a hint if the numbers agree.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array, Params
from captioner.gradcheck.layer_case import Layer
from captioner.gradcheck.numeric import PRECISION, SMALLEST, TOLERANCE, relative_error
from captioner.layers.lstm import LSTM, lstm_step_backward, lstm_step_forward, sigmoid


class Numbers(NamedTuple):
    """What a function returns and what is right: gradients for the upstream gradients `douts`, or outputs without."""

    own: Callable[[dict[str, Any]], Layer]
    reference: Callable[[dict[str, Any]], Layer]
    """Both return a layer for values of the arguments without gradients (`fixed`)."""
    fixed: dict[str, Any]
    inputs: Params
    outs: Params
    douts: tuple[Array, ...]
    got: Params
    right: Params

    @property
    def failed(self) -> list[str]:
        """The names of the wrong arrays."""
        limit = TOLERANCE if self.douts else PRECISION
        return [k for k, right in self.right.items() if relative_error(self.got[k], right, SMALLEST) > limit]

    def run(self, layer: Callable[[dict[str, Any]], Layer], changes: Mapping[str, Any]) -> Params:
        """Return the numbers of one of the layers for changed arguments."""
        inputs, fixed = ({k: changes.get(k, v) for k, v in own.items()} for own in (self.inputs, self.fixed))
        built = layer(fixed)
        outs, cache = built.forward(*inputs.values())
        if not self.douts:
            return dict(zip(self.outs, outs, strict=True))
        grads = built.backward(*changes.get("douts", self.douts), cache)
        return {f"d{k}": grad for k, grad in zip(inputs, grads, strict=True)}

    def after(self, changes: Mapping[str, Any]) -> Numbers:
        """Return the numbers of both functions for changed arguments."""
        return self._replace(got=self.run(self.own, changes), right=self.run(self.reference, changes))


def hint(problem: str, has_numbers: bool, w: Numbers, is_backward: bool) -> str:
    """Return a hint at the mistake of a function with a problem, or ""."""
    with suppress(Exception), np.errstate(all="ignore"):  # the function may fail in another case
        return _of_numbers(w, is_backward) if has_numbers else _of_product(problem, w, is_backward)
    return ""


def shape_hint(name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return a hint at a wrong shape of one of the results that have `shapes`, or ""."""
    names = [k for k in shapes if shapes[k] == shape]
    if len(shapes[name]) == 1 and not names:
        return "sum over all axes but the last, without keepdims"
    names = ["its transpose"] * (shape == shapes[name][::-1]) + names
    return f"has the shape of {' and '.join(names)}" if names else ""


def _of_product(problem: str, w: Numbers, is_backward: bool) -> str:
    """Return a hint at a matrix product whose sizes do not fit, by the message of NumPy."""
    if sizes := re.search(r"\(size (\d+) is different from (\d+)\)|(\d+) \(dim \d\) != (\d+)", problem):
        fit = int(sizes[1] or sizes[4]), int(sizes[2] or sizes[3])
        arrays = w.inputs | (w.outs | {f"d{k}": out for k, out in w.outs.items()} if is_backward else {})
        names = [f"{k}.T {fit[::-1]}" for k, array in arrays.items() if np.shape(array) == fit]
        return f"is a transpose missing? {' or '.join(names)} would fit" if names else ""
    return ""


def _of_numbers(w: Numbers, is_backward: bool) -> str:
    """Return the hint of the first hypothesis that explains the numbers."""
    rng = np.random.default_rng(2)
    w = w._replace(douts=tuple(rng.standard_normal(np.shape(out)) for out in w.outs.values() if is_backward)).after({})
    if max(relative_error(w.got[k], w.right[k], SMALLEST) for k in w.failed) < 1e-4:
        return "the error is small: is a part in float32, or a small constant such as eps wrong?"
    explain = partial(_first, cases=_changes), _recurrent, _each_array, _softmax, partial(_first, cases=_simpler)
    for hypothesis in explain:
        with suppress(Exception):
            if text := hypothesis(w):
                return text
    return ""


def _same(a: Array, b: Array) -> bool:
    return np.shape(a) == np.shape(b) and relative_error(a, b) <= TOLERANCE


def _first(w: Numbers, cases: Callable[[Numbers], Iterator[tuple[str, dict[str, Any], bool]]]) -> str:
    """Return the first case in which no number is wrong, for changed arguments of the reference, or of both."""
    for text, case, is_of_both in cases(w):
        with suppress(Exception):  # shapes may not fit
            other = w.after(case) if is_of_both else w._replace(right=w.run(w.reference, case))
            if not other.failed and all(other.right[k].any() for k in w.failed):  # that 0 is right says nothing
                return text
    return ""


STATE = ("prev_h", "prev_c", "h0", "Wh")
"""Inputs without which the others still have an effect."""


def _simpler(w: Numbers) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield simpler arguments for which a function with a mistake may be right."""
    parts = ((name, value, case) for name, value, case in _parts(w) if name in w.fixed or name in STATE)
    question = {"num_heads": ": are they split and joined right, and scores divided by sqrt(E / num_heads)?"}
    for name, value, case in parts:
        yield f"correct only if {name} = {value}{question.get(name, '')}", case, True


def _parts(w: Numbers) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the name of a part that a function may ignore, and the value without its effect."""
    for k in (k for k, mask in w.fixed.items() if k.endswith("mask") and mask is not None):
        yield k, "True", {k: np.ones_like(w.fixed[k])}
    yield from (("num_heads", "1", {"num_heads": 1}), ("ln_param", "{}", {"ln_param": {}}))
    for k in (k for k in w.inputs if k != "x"):  # if x is 0, most mistakes are hidden
        n = int(k.startswith("gamma"))
        yield k, f"{n}", {k: np.full_like(w.inputs[k], n)}
    for i, out in enumerate(w.outs if len(w.douts) > 1 else ()):
        yield f"d{out}", "0", {"douts": [dout * (i != j) for j, dout in enumerate(w.douts)]}


def _changes(w: Numbers) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield arguments with which the reference gives the numbers of a mistake."""
    layer = w.reference(w.fixed)
    names = layer.cell.gate_names
    gated = {k: np.split(w.inputs[k], len(names), axis=-1) for k in w.inputs if names and layer.shapes[k][-1] == "G"}
    for order in itertools.permutations(names):
        expected = f"the gate order is {', '.join(order)}; expected {', '.join(names)}"
        case = {k: np.concatenate([parts[order.index(n)] for n in names], -1) for k, parts in gated.items()}
        yield expected, case, False
    for k, mask in ((k, mask) for k, mask in w.fixed.items() if k.endswith("mask") and mask is not None):
        yield f"~{k} is used: True is for what is allowed", {k: mask == 0}, False
        yield f"a causal {k} is used", {k: np.tri(*mask.shape) > 0}, False
    yield from ((f"{name} seems to be ignored", case, False) for name, _, case in _parts(w))
    for k, array in w.inputs.items():
        yield " is used instead of ".join([k, f"{k}.T"][:: 1 if w.douts else -1]), {k: array.T}, False
        for other in (other for other in w.inputs if other != k and w.inputs[other].shape == array.shape):
            yield f"{other} is used instead of {k}", {k: w.inputs[other]}, False
            yield f"{k} and {other} are interchanged", {k: w.inputs[other], other: array}, False
    for text, x in _shifted(w.inputs["x"]) if "h" in w.outs and not w.douts else ():
        yield f"step t reads {text}", {"x": x}, False
    for name, c in _constants(w).items() if "Wx" not in w.inputs else ():
        query = {k: c * array for k, array in w.inputs.items() if k in ("Wq", "bq", "prev_h")}
        yield f"scores are {c:.4g} times as large ({name})", query, False


def _shifted(x: Array) -> Iterator[tuple[str, Array]]:
    """Yield the inputs of a loop that reads those of another step."""
    zeros = np.zeros_like(x[:, :1])
    yield from (("x[:, t - 1]", each) for each in (np.roll(x, 1, axis=1), np.concatenate([zeros, x[:, :-1]], axis=1)))
    yield from (("x[:, t + 1]", each) for each in (np.roll(x, -1, axis=1), np.concatenate([x[:, 1:], zeros], axis=1)))
    yield "x[:, t + 1]", np.concatenate([x[:, 1:], x[:, -1:]], axis=1)


def _da(w: Numbers) -> tuple[Array, Array]:
    """Return da of both functions: with zeros after x and an identity matrix below Wx, it is the end of dx."""
    x, Wx = w.inputs["x"], w.inputs["Wx"]
    zeros, identity = np.zeros((*x.shape[:-1], Wx.shape[1])), np.eye(Wx.shape[1])
    wide = w.after({"x": np.concatenate([x, zeros], axis=-1), "Wx": np.concatenate([Wx, identity])})
    return wide.got["dx"][..., x.shape[-1] :], wide.right["dx"][..., x.shape[-1] :]


def _recurrent(w: Numbers) -> str:
    """Explain the gradients of an RNN or LSTM, which all contain da."""
    if not {"dx", "dWx", "dWh", "db"} <= {*w.failed}:
        return ""
    if w.inputs["x"].ndim == 2:
        names = [f"da_{n}" for n in w.reference(w.fixed).cell.gate_names] or ["da"]
        blocks = [dict(zip(names, np.split(da, len(names), axis=-1), strict=True)) for da in _da(w)]
        gates = w._replace(got=blocks[0], right=blocks[1])
        parts, factors = ", ".join(gates.failed), [gates.got[k] / gates.right[k] for k in gates.failed]
        if parts == "da_i, da_f, da_g" and all(_same(factor, factors[0]) for factor in factors):
            parts = f"dc, which is in {parts}"
        text = _each_array(gates) or f"fix {parts} first"
        return f"all wrong gradients contain da: {text}" if gates.failed else ""
    got, right = w.got["dx"], w.right["dx"]
    steps = range(right.shape[1])
    wrong = [t for t in steps if not _same(got[:, t], right[:, t])]
    if wrong == [*steps[:-1]]:
        with suppress(Exception):  # it is no LSTM without attention
            for lost, question in LOST.items():
                if _same(got, _dx_without(w, lost)):
                    return f"dx is right at the last step only: {question}?"
        c = ", and dprev_c passed on as dnext_c" if w.reference(w.fixed).cell.states == 2 else ""
        query = " (with that of the query of its attention)" if "Wattn" in w.inputs else ""
        return f"dx is right at the last step only: is dprev_h of the next step{query} right, and added to dh[:, t]{c}?"
    if steps[-1] in wrong:
        return "dx is wrong at the last step, too: is one step right, and does the loop start there, with zeros?"
    return (
        f"dx[:, t] is {'wrong' if got[:, wrong].any() else 0} for t in {wrong} of {len(steps)} steps" if wrong else ""
    )


LOST = {
    "dprev_c": "is dprev_c of the next step passed on as dnext_c",
    "dprev_h": "is dprev_h of the next step added to dh[:, t]",
}
"""The gradients that a loop may lose between steps, and the question for the student."""


def _dx_without(w: Numbers, lost: str) -> Array:
    """Return dx of an LSTM whose loop does not pass on one of its two gradients."""
    gates = dict(zip(w.reference(w.fixed).cell.gate_names, np.split(np.arange(w.inputs["b"].size), 4), strict=True))
    columns = np.concatenate([gates[name] for name in LSTM.gate_names])
    weights = [w.inputs[k][..., columns] for k in ("Wx", "Wh", "b")]
    h, caches = w.inputs["h0"], []
    c, dx, dh = np.zeros_like(h), np.zeros_like(w.inputs["x"]), w.douts[0]
    for t in range(dx.shape[1]):
        h, c, cache = lstm_step_forward(w.inputs["x"][:, t], h, c, *weights)
        caches.append(cache)
    dprev = {name: np.zeros_like(h) for name in LOST}
    for t in reversed(range(dx.shape[1])):
        dx[:, t], dprev["dprev_h"], dprev["dprev_c"], *_ = lstm_step_backward(
            dh[:, t] + dprev["dprev_h"], dprev["dprev_c"], caches[t]
        )
        dprev[lost] = np.zeros_like(h)
    return dx


def _softmax(w: Numbers) -> str:
    """Of equal keys, the scores are equal, and their gradients sum to 0: that of the query is 0."""
    for k, query in (("A", "dprev_h"), ("key", "dquery")):
        if k in w.inputs and query in w.failed:
            first = w.inputs[k][:, :, :1, :1] if k == "A" else w.inputs[k][:, :1]
            of_equal = w.run(w.own, {k: np.broadcast_to(first, w.inputs[k].shape).copy()})[query]
            if relative_error(of_equal, 0.0, SMALLEST) > TOLERANCE:
                return "is each score's gradient weight * (dweight - Σ weights * dweights)? Those of a softmax sum to 0"
    return ""


def _each_array(w: Numbers) -> str:
    """Explain wrong arrays one by one; if most are not explained, the mistake is before them."""
    groups: dict[str, list[str]] = {}
    for k in w.failed:
        with suppress(Exception):
            found = (text for text, values in _mistakes(w, k, w.got[k], w.right[k]) if _same(w.got[k], values))
            groups.setdefault(next(found), []).append(k)
    is_few = 2 * sum(map(len, groups.values())) < len(w.failed)
    return "" if is_few else "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())


def _mistakes(w: Numbers, k: str, got: Array, right: Array) -> Iterator[tuple[str, Array]]:
    """Yield mistakes with the numbers that they give for one array; parts that they do not concern are right."""
    factor = round(float(np.vdot(got, right) / np.vdot(right, right)), 9)
    named = [f" ({name})" for name, c in _constants(w).items() if abs(factor - c) < TOLERANCE * c and factor != 2]
    if named or np.size(right) > 2 or factor in (-1, 0, 2):
        yield f"{factor:.4g} times the right value{''.join(named[:1])}", factor * right
    yield from ((f"has the values of {other}", values) for other, values in w.right.items() if other != k)
    yield "is transposed", right.swapaxes(-1, -2) if right.ndim > 1 else right
    if k == "attn_weights" and np.allclose(right.sum(axis=(1, 2)), 1) and not np.allclose(got.sum(axis=(1, 2)), 1):
        yield "must sum to 1 over all regions of a caption", got
    yield from (row for rule in RULES if k in rule.arrays and rule.needs <= {*w.inputs, *w.fixed} for row in rule(w, k))
    if k == "out" and {"x", "gamma"} <= {*w.inputs}:
        yield from _normalized(**w.inputs, eps=w.fixed["ln_param"].get("eps", 1e-5))
    if k == "dx" and np.allclose(right.sum(axis=-1), 0) and not np.allclose(got.sum(axis=-1), 0):
        part = (
            "is the gradient of the mean right?"
            if "gamma" in w.inputs
            else "is 1 subtracted at the words y, of a softmax over words?"
        )
        yield f"each row must sum to 0: {part}", got
    if k == "dx" and "gamma" in w.inputs:
        std = np.sqrt(w.inputs["x"].var(axis=-1, keepdims=True) + w.fixed["ln_param"].get("eps", 1e-5))
        yield from (("is not divided by std", right * std), ("is divided by std twice", right / std))
        sums = [(dx * (w.inputs["x"] - w.inputs["x"].mean(axis=-1, keepdims=True))).sum(axis=-1) for dx in (got, right)]
        if np.allclose(sums[1], 0, atol=1e-3) and not np.allclose(sums[0], 0, atol=1e-3):
            yield "Σ (x - mean) dx of each row must be 0: is the gradient of the variance right?", got
    if k == "dA" and "Wx" in w.inputs:
        constant = right + (got - right).mean(axis=(2, 3), keepdims=True)
        yield "the error is the same for all regions: is the gradient of their mean, h0 and c0, right?", constant
    for name, W in w.inputs.items() if w.douts else ():
        if W.shape == (*right.shape[-1:],) * 2:
            yield f"{name} is used instead of {name}.T", right @ np.linalg.inv(W.T) @ W
    if k == "dW" and (np.abs(got - right).max(axis=1) > TOLERANCE).sum() > 1:
        is_repeated = np.bincount(w.fixed["x"].ravel(), minlength=len(right))[:, None] > 1
        yield "wrong only for words that occur again: np.add.at adds all", np.where(is_repeated, got, right)
    if k == "da" and "prev_h" in w.inputs:
        yield "1 - next_h**2 is missing", w.douts[0]
    if k in ("dWx", "dWh", "db") and "Wx" in w.inputs:
        yield from _weight_mistakes(w, k, right.shape)


def _wrong_start(w: Numbers, k: str) -> Iterator[tuple[str, Array]]:
    """Yield the states of a loop that does not pass them on."""
    x, h = w.inputs["x"], w.inputs.get("h0")
    steps = [x[:, t : t + 1] for t in range(x.shape[1])]
    yield "each step starts from h0", np.concatenate([w.run(w.reference, {"x": x_t})[k] for x_t in steps], axis=1)
    hs = []
    for x_t in steps if h is not None else ():
        h = w.run(w.reference, {"x": x_t, "h0": h})[k][:, -1]
        hs.append(h)
    yield "each step starts with c = 0", np.stack(hs, axis=1)


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "max(0, a)": lambda a: np.maximum(0.0, a),
    "a itself": lambda a: a,
}


def _wrong_function(w: Numbers, k: str) -> Iterator[tuple[str, Array]]:
    """Yield the states of a step of an RNN or LSTM with another activation."""
    names = w.reference(w.fixed).cell.gate_names
    a = w.inputs["x"] @ w.inputs["Wx"] + w.inputs["prev_h"] @ w.inputs["Wh"] + w.inputs["b"]
    if not names:
        yield from ((f"{name} is used instead of tanh(a)", function(a)) for name, function in FUNCTIONS.items())
    elif {*names} == {*LSTM.gate_names}:
        of_gate = dict(zip(names, np.split(a, len(names), axis=-1), strict=True))
        right = {n: np.tanh(a_n) if n == "g" else sigmoid(a_n) for n, a_n in of_gate.items()}
        for name, function in FUNCTIONS.items():
            for n in names:
                gates = right | {n: function(of_gate[n])}
                c = gates["f"] * w.inputs["prev_c"] + gates["i"] * gates["g"]
                yield f"{name} is used for {n}", {"next_c": c, "next_h": gates["o"] * np.tanh(c)}[k]
        yield "tanh of next_c is missing", right["o"] * w.outs["next_c"]


def _wrong_loss(w: Numbers, k: str) -> Iterator[tuple[str, Array]]:
    """Yield results of a softmax loss with a sum or a mask in the wrong place."""
    x, y, mask = w.inputs["x"], w.fixed["y"], w.fixed["mask"]
    exps = np.exp(x - x.max(axis=-1, keepdims=True))
    p, words = exps / exps.sum(axis=-1, keepdims=True), np.eye(x.shape[-1])[y]
    of_words = mask * (p * words).sum(axis=-1)
    if k == "loss":
        yield "the log of a sum; expected the sum of logs", -np.log(of_words.sum()) / len(x)
    else:
        dloss, m = w.douts[0] / len(x), mask[..., None]
        yield "the mask is applied to the probabilities, but not to the 1 at the words y", dloss * (m * p - words)
        yield "the mask is applied to the 1 at the words y, but not to the probabilities", dloss * (p - m * words)


class Rule(NamedTuple):
    """Mistakes of a kind of function: the arrays that they make wrong, and what the function must have."""

    arrays: tuple[str, ...]
    needs: set[str]
    mistakes: Callable[[Numbers, str], Iterator[tuple[str, Array]]]

    def __call__(self, w: Numbers, k: str) -> Iterator[tuple[str, Array]]:
        return self.mistakes(w, k)


RULES = (
    Rule(("h",), {"x", "Wx", "Wh"}, _wrong_start),
    Rule(("next_h", "next_c"), {"x", "Wx", "Wh", "prev_h"}, _wrong_function),
    Rule(("loss", "dx"), {"x", "y", "mask"}, _wrong_loss),
)
"""Mistakes of loops, of steps and of the loss; each has an example in `tests/teaching/test_hints.py`."""


def _normalized(x: Array, gamma: Array, beta: Array, eps: float) -> Iterator[tuple[str, Array]]:
    """Yield mistakes of a layer normalization."""
    size, var = x.shape[-1], x.var(axis=-1, keepdims=True)
    centred = x - x.mean(axis=-1, keepdims=True)
    variances = {"the variance is a sum": size * var, "the variance is a sum / (size - 1)": size / (size - 1) * var}
    variances |= {"the root of the variance is missing": (var + eps) ** 2 - eps}
    yield from ((text, gamma * centred / np.sqrt(value + eps) + beta) for text, value in variances.items())
    yield "mean and variance are over axis 0", gamma * (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + eps) + beta


def _constants(w: Numbers) -> dict[str, float]:
    """Return factors by which results may be wrong, by their names; 2 has many causes."""
    layer, mask = w.reference(w.fixed), w.fixed.get("mask")
    letters = sorted({"N", *"".join(layer.shapes.values())} - {"G"})
    sizes = {k.replace("U", "T"): float(layer.sizes[k]) for k in letters if layer.sizes[k] != 2}
    if heads := w.fixed.get("num_heads"):
        sizes |= {"E / num_heads": sizes["E"] / heads, "num_heads": float(heads)}
    sizes |= {"N / number of words": len(mask) / mask.sum()} if mask is not None else {}
    sizes |= {"(N T)": sizes["N"] * sizes["T"]} if "T" in sizes else {}
    sizes |= {f"sqrt({k})": size**0.5 for k, size in sizes.items()}
    return sizes | {f"1 / {k}": 1 / size for k, size in sizes.items()}


def _weight_mistakes(w: Numbers, k: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Yield the parts that the steps add to a gradient of the weights of an RNN or LSTM, for a correct da."""
    x, da = w.inputs["x"], _da(w)[1]
    h0 = w.inputs["h0"] if "h0" in w.inputs else w.inputs["A"].mean(axis=(2, 3))
    prev_h = np.concatenate([h0[:, None], w.outs["h"][:, :-1]], axis=1)
    rows = {"dWx": x, "dWh": prev_h, "db": np.ones((*x.shape[:2], 1))}[k]
    text = "the gradient of x[:, {}] alone: is it added to those of the other steps (+=)?"
    yield from ((text.format(t), (rows[:, t].T @ da[:, t]).reshape(shape)) for t in range(x.shape[1]))
