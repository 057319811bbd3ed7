"""Name the mistake that explains the wrong numbers of a function of a file.

A hypothesis says which numbers a mistake gives, or in which simpler case a function is right, and is a hint only if the
numbers of the function agree to 1e-6. The mistakes are made with captioner's functions: with other inputs, with parts
of the upstream gradients, or with other factors in their products.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.gradcheck.cases import Layer
from captioner.gradcheck.numeric import TOLERANCE, relative_error

SMALLEST = 1e-2
"""Gradients below it are compared absolutely: that of the bias of keys is 0, except for rounding."""
PRECISION = 1e-9
"""The maximum relative error of values: float64 has about 1e-15, and a part that is computed in float32 1e-8."""
WAYS_BACK = ["beta3 gamma3 b2 W2 b1 W1 beta2 gamma2 cross_bo cross_Wo cross_bv cross_Wv cross_bq cross_Wq cross_Wk"]
WAYS_BACK[0] += " memory beta1 gamma1 self_bo self_Wo self_bv self_Wv self_bq self_Wq self_Wk tgt"
WAYS_BACK += ["bo Wo bv Wv value bq Wq query Wk key"]
"""Gradients in the order in which a backward function computes them."""
Layers: TypeAlias = Callable[..., tuple[Layer, Layer]]
"""Returns the layer of a file and captioner's, for other fields of their signature."""
Fixed: TypeAlias = Callable[[np.random.Generator, Mapping[str, int]], dict[str, Any]]
"""Returns the values of a signature that have no gradient."""
_DC = ("o", "1 - tanh(next_c)**2")
FACTORS = {"da": ("1 - next_h**2",), "da_i": ("g", "i * (1 - i)", *_DC), "da_f": ("prev_c", "f * (1 - f)", *_DC)}
FACTORS |= {"da_o": ("tanh(next_c)", "o * (1 - o)"), "da_g": ("i", "1 - g**2", *_DC), "dprev_c": ("f", *_DC)}
FACTORS |= {"next_c": ("i", "g"), "next_h": ("o", "tanh(next_c)", "tanh(a)")}
"""The factors of the gradients of a step of an RNN or LSTM if dnext_c is 0, and of its outputs if prev_c is 0."""


class Wrong(NamedTuple):
    """A wrong function: the numbers `got` and the `right` ones, by the names of its outputs or gradients.

    Numbers are gradients for the upstream gradients `douts`, or outputs if there are none.
    """

    layers: Layers
    fixed: Mapping[str, Any]
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

    def run(self, index: int, inputs: Params, douts: Iterable[Array] | None = None, **fixed: Any) -> Params:
        """Return the numbers of the function of the file (index 0) or of captioner's (1), with changes."""
        layer, arrays = self.layers(fixed=lambda *_: {**self.fixed, **fixed})[index], self.inputs | inputs
        outs, cache = layer.forward(*arrays.values())
        if not self.douts:
            return dict(zip(self.outs, outs, strict=True))
        grads = layer.backward(*(self.douts if douts is None else douts), cache)
        return {f"d{k}": grad for k, grad in zip(arrays, grads, strict=True)}

    def after(self, inputs: Params, douts: Iterable[Array] | None = None, **fixed: Any) -> Wrong:
        """Return the numbers of both functions with changes."""
        got, right = (self.run(i, inputs, douts, **fixed) for i in (0, 1))
        return self._replace(inputs=self.inputs | inputs, got=got, right=right)


def explain(problem: str, layers: Layers, fixed: Fixed, inputs: Params, outs: Params, is_backward: bool = False) -> str:
    """Return a hint at the mistake of a function with a problem, with a semicolon after it, or ""."""
    if problem.endswith("got NaN or infinity [scores near 1000]"):
        return "exp of a large score is infinite: subtract the maximum of each row of scores first; "
    shapes = re.search(r"expected the shape \(([\d, ]*)\), got \(([\d, ]*)\)", problem)
    sizes = re.search(r"\(size (\d+) is different from (\d+)\)|(\d+) \(dim \d\) != (\d+)", problem)
    hint = ""
    try:
        if shapes or sizes:
            hint = _of_equal_sizes(layers, fixed, outs, is_backward)
        elif problem.startswith("differs from"):
            hint = _of_numbers(layers, fixed, inputs, outs, is_backward)
    except Exception:  # code of the file may fail in another case
        hint = ""
    if shapes and not hint:
        expected, got = ([int(n) for n in re.findall(r"\d+", shape)] for shape in shapes.groups())
        hint = "sum over all axes but the last" if len(expected) == 1 else ""
        hint = "drop the axis of keepdims" if hint and got[0:1] == [1] and got[-1:] == expected else hint
    if sizes and not hint:
        fit = int(sizes[1] or sizes[4]), int(sizes[2] or sizes[3])
        arrays = inputs | outs | {f"d{k}": out for k, out in outs.items() if is_backward}
        names = [f"{k}.T {fit[::-1]}" for k, array in arrays.items() if np.shape(array) == fit]
        hint = f"is a transpose missing? {' or '.join(names)} would fit" if names else ""
    return f"{hint}; " if hint else ""


def _of_equal_sizes(layers: Layers, fixed: Fixed, outs: Params, is_backward: bool) -> str:
    """Return a hint for a case in which all letters have one size: all shapes fit, and numbers can be compared."""
    equal = partial(layers, sizes=dict.fromkeys("NTULDHVEJ", 6))
    known, rng = equal()[1], np.random.default_rng(0)
    letters = {**known.sizes, "G": 6 * known.cell.gates}
    inputs = {k: rng.standard_normal([letters[letter] for letter in shape]) for k, shape in known.shapes.items()}
    outs = dict(zip(outs, known.forward(*inputs.values())[0], strict=True))
    return _of_numbers(equal, fixed, inputs, outs, is_backward)


def _of_numbers(layers: Layers, fixed: Fixed, inputs: Params, outs: Params, is_backward: bool) -> str:
    """Return the hint of the first hypothesis that explains the numbers."""
    values = fixed(np.random.default_rng(0), layers()[1].sizes)
    wrong = Wrong(layers, values, inputs, outs, (), {}, {})
    if is_backward and wrong.after({}).failed:
        return "first correct the forward function"
    rng = np.random.default_rng(2)
    wrong = wrong._replace(douts=tuple(rng.standard_normal(np.shape(out)) for out in outs.values() if is_backward))
    hints = map(_hint, HYPOTHESES, itertools.repeat(wrong.after({})))
    return next((hint for hint in hints if hint), "")


def _hint(hypothesis: Callable[[Wrong], str], wrong: Wrong) -> str:
    try:
        with np.errstate(all="ignore"):
            return hypothesis(wrong) if wrong.failed else ""
    except Exception:  # code of the file may fail in another case, and inputs of another shape do not fit
        return ""


def _same(a: Array, b: Array) -> bool:
    return np.shape(a) == np.shape(b) and relative_error(a, b) <= TOLERANCE


def _listed(texts: Mapping[str, str]) -> str:
    """Return texts by name as one, in which names share a text."""
    groups = {text: [k for k in texts if texts[k] == text] for text in texts.values() if text}
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())


def _precision(w: Wrong) -> str:
    if not all(_same(again, w.got[k]) for k, again in w.run(0, {}).items()):
        return "returns other numbers when it is called again"
    is_small = max(relative_error(w.got[k], w.right[k], SMALLEST) for k in w.failed) < 1e-4
    return "the error is small: is a part in float32, or a small constant such as eps wrong?" if is_small else ""


def _softmax_axis(w: Wrong) -> str:
    weights = w.got["attn_weights"]
    axes = [f"; they do over axis {axis} alone" for axis in range(3) if np.allclose(weights.sum(axis=axis), 1)]
    is_right = np.allclose(weights.sum(axis=(1, 2)), 1)
    return "" if is_right else f"attn_weights of a caption must sum to 1 over all regions{''.join(axes[:1])}"


def _changes(w: Wrong) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield arguments of captioner's function that give the numbers of a mistake."""
    if "b" in w.inputs and w.inputs["b"].size == 4 * len(w.inputs.get("Wh", "")):
        gated = {k: np.split(w.inputs[k], 4, axis=-1) for k in ("Wx", "Wh", "Wattn", "b") if k in w.inputs}
        for order in itertools.permutations("ifog"):
            inputs = {k: np.concatenate([parts[order.index(n)] for n in "ifog"], axis=-1) for k, parts in gated.items()}
            yield f"the gate order {', '.join(order)}; expected i, f, o, g", {"inputs": inputs}
    for k, mask in w.fixed.items():
        if k.endswith("mask") and mask is not None:
            yield f"{k} without False: is it ignored?", {"inputs": {}, k: np.ones_like(mask)}
            yield f"~{k}: True is for what is allowed", {"inputs": {}, k: ~mask}
            yield f"a causal {k}", {"inputs": {}, k: np.tri(*mask.shape) > 0}
    yield "eps = 1e-5: is eps of ln_param ignored?", {"inputs": {}, "ln_param": {}}
    for k, array in w.inputs.items():
        yield from ((f"{k} = {n}: is {k} ignored?", {"inputs": {k: 0 * array + n}}) for n in (0, 1))
        yield " in place of ".join([k, f"{k}.T"][:: 1 if w.douts else -1]), {"inputs": {k: array.T}}
        for other in (other for other in w.inputs if other != k and w.inputs[other].shape == array.shape):
            yield f"{other} in place of {k}", {"inputs": {k: w.inputs[other]}}
            yield f"{k} and {other} interchanged", {"inputs": {k: w.inputs[other], other: array}}
    query = [k for k in ("Wq", "bq", "prev_h") if k in w.inputs and "Wx" not in w.inputs]
    for name, c in _constants(w).items() if query else []:
        yield f"scores {c:.4g} times as large ({name})", {"inputs": {k: c * w.inputs[k] for k in query}}
    yield from ((f"{text}: is it ignored?", case) for text, case in _without_upstream(w))


def _without_upstream(w: Wrong) -> Iterator[tuple[str, dict[str, Any]]]:
    for i, out in enumerate(w.outs if len(w.douts) > 1 else ()):
        yield f"d{out} = 0", {"inputs": {}, "douts": [dout * (i != j) for j, dout in enumerate(w.douts)]}


def _simpler(w: Wrong) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield simpler cases, in which a function with a mistake may be right."""
    for k, other in {"attn_mask": None, "tgt_mask": None, "num_heads": 1}.items():
        if w.fixed.get(k, other) is not other:
            yield f"{k} is {other}", {"inputs": {}, k: other}
    if "Wx" in w.inputs and w.inputs["x"].ndim == 3:
        yield "there is one step (T = 1)", {"inputs": {"x": w.inputs["x"][:, :1]}, "douts": [d[:, :1] for d in w.douts]}
    for k in ("h0", "prev_h", "prev_c", "W2", "cross_Wo", "self_Wo"):
        yield from [(f"{k} = 0", {"inputs": {k: 0 * w.inputs[k]}})] if k in w.inputs else []
    yield from _without_upstream(w)


def _changed(w: Wrong) -> str:
    """Compare all numbers with captioner's for other arguments."""
    texts = (
        text for text, case in _changes(w) if _is_right(w, lambda w, case: w._replace(right=w.run(1, **case)), case)
    )
    return f"the result of {text}" if (text := next(texts, "")) else ""


def _simplified(w: Wrong) -> str:
    """Compare all numbers in simpler cases; that numbers that are 0 in such a case are right says nothing."""

    def simplified(w: Wrong, case: Any) -> Wrong:
        simple = w.after(**case)
        return simple if all(simple.right[k].any() for k in w.failed) else w

    texts = (text for text, case in _simpler(w) if _is_right(w, simplified, case))
    return f"right if {text}" if (text := next(texts, "")) else ""


def _is_right(w: Wrong, change: Callable[[Wrong, Any], Wrong], case: Mapping[str, Any]) -> bool:
    return bool(_hint(lambda w: "" if change(w, case).failed else "right", w))


def _loss(w: Wrong) -> str:
    """Compare dx if the loss is wrong."""
    is_right = [*w.outs] == ["loss"] and not w._replace(douts=(np.ones(()),)).after({}).failed
    return "dx is right, and so is the softmax: compare the line of the loss" if is_right and not w.douts else ""


def _constants(w: Wrong) -> dict[str, float]:
    """Return factors by which results may be wrong, by their names; 2 has many causes."""
    layer, mask = w.layers()[1], w.fixed.get("mask")
    letters = dict.fromkeys("".join(layer.shapes.values()).replace("G", "") + "N")
    sizes = {k.replace("U", "T"): float(layer.sizes[k]) for k in letters if layer.sizes[k] != 2}
    if "num_heads" in w.fixed:
        sizes |= {"E / num_heads": sizes["E"] / w.fixed["num_heads"], "num_heads": w.fixed["num_heads"]}
    sizes |= {"N / number of words": len(mask) / mask.sum()} if mask is not None else {}
    sizes |= {"(N T)": sizes["N"] * sizes["T"], "N / T": sizes["N"] / sizes["T"]} if "T" in sizes else {}
    sizes |= {f"sqrt({k})": size**0.5 for k, size in sizes.items()}
    return sizes | {f"1 / {k}": 1 / size for k, size in sizes.items()}


def _factor(w: Wrong, got: Array, right: Array) -> str:
    """Return the constant by which an array is wrong as text, or ""."""
    factor = round(float(np.vdot(got, right) / np.vdot(right, right)), 9)
    names = [f" ({k})" for k, c in _constants(w).items() if abs(factor - c) < TOLERANCE * c and factor != 2]
    if not _same(got, factor * right) or (np.size(right) < 3 and not names and factor not in (-1, 0, 2)):
        return ""
    signs = {0.0: "all 0", -1.0: "wrong sign"}
    return signs.get(factor) or f"{factor:.4g} times the right value{''.join(names[:1])}"


def _arrays(w: Wrong) -> str:
    """Explain wrong arrays one by one."""
    texts = {}
    for k in w.failed:
        found = (text for text, values in _mistakes(w, k, w.got[k], w.right[k]) if _same(w.got[k], values))
        texts[k] = _factor(w, w.got[k], w.right[k]) or next(found, "")
    is_few = 2 * sum(map(bool, texts.values())) < len(texts)  # the mistake is before these arrays
    return "" if is_few else _listed(texts)


def _mistakes(w: Wrong, k: str, got: Array, right: Array) -> Iterator[tuple[str, Array]]:
    """Yield mistakes with the numbers that they give for one array; parts that they do not concern are right."""
    yield from ((f"has the values of {other}", values) for other, values in w.right.items() if other != k)
    yield "is transposed", right.swapaxes(-1, -2) if right.ndim > 1 else right
    if "gamma" in w.inputs and k in ("out", "dx"):
        beta, x = w.inputs["beta"] * (k == "out"), w.inputs["x"]
        row: dict[str, Any] = {"axis": -1, "keepdims": True}
        factor, mean = ((got - beta) / (right - beta)).mean(**row), (got - right).mean(**row)
        yield "each row has a wrong factor: is it 1 / sqrt(var + eps)?", beta + (right - beta) * factor
        yield "wrong by one number per row: is it the mean of the row?", right + mean
        normed = x - x.mean(**row)
        along = ((got - right) * normed).sum(**row) / (normed**2).sum(**row) * normed
        yield "wrong by a multiple of x - mean per row: is it the path of the variance?", right + along
        yield "the paths of the mean and of the variance are wrong or missing", right + mean + along
        for over in (0, None):
            mean, variance = x.mean(over, keepdims=True), x.var(over, keepdims=True)
            batch = w.inputs["gamma"] * (x - mean) / np.sqrt(variance + w.fixed["ln_param"].get("eps", 1e-5)) + beta
            yield f"the mean and the variance are over axis {over} in place of -1", batch
    if not w.douts:
        return
    for name, W in w.inputs.items():
        if W.shape == (*right.shape[-1:],) * 2:
            yield f"@ {name} in place of @ {name}.T", right @ np.linalg.inv(W.T) @ W
    if "y" in w.fixed:
        is_word = np.arange(right.shape[2]) == w.fixed["y"][..., None]
        yield "wrong only at the words y: is 1 subtracted from their probabilities?", np.where(is_word, got, right)
    if k == "dW" and (np.abs(got - right).max(axis=1) > TOLERANCE).sum() > 1:
        is_repeated = np.bincount(w.fixed["x"].ravel(), minlength=len(right))[:, None] > 1
        yield "wrong only for words that occur again: np.add.at adds all", np.where(is_repeated, got, right)
    if "A" in w.inputs and k == "dprev_h":
        weights, (dattn, dweights) = w.outs["attn_weights"], w.douts
        dweights = dweights + np.einsum("nh,nhij->nij", dattn, w.inputs["A"])
        for de in (weights * dweights, weights * (1 - weights) * dweights):
            grad = np.einsum("nij,nhij->nh", de, w.inputs["A"]) / right.shape[1] ** 0.5
            yield "in the gradient of the softmax, each weight depends on all scores: a sum is missing", grad
    if "Wx" in w.inputs and k in ("dx", "dprev_h", "dWx", "dWh", "db"):
        yield from _recurrent_mistakes(w, k)
    for axis, name in enumerate("NT"[: w.douts[0].ndim - 1]):
        for i in range(w.douts[0].shape[axis]):
            douts = [dout * (np.indices(dout.shape)[axis] == i) for dout in w.douts]
            yield f"contains only index {i} of {name}: sum over all", w.run(1, {}, douts)[k]


def _recurrent_mistakes(w: Wrong, k: str) -> Iterator[tuple[str, Array]]:
    """Yield mistakes in a gradient of an RNN or LSTM, for a correct da."""
    x, da, outs = w.inputs["x"], _da(w)[1], w.outs
    if x.ndim == 2:
        yield from ((f"{name} in place of prev_h", state.T @ da) for name, state in outs.items() if k == "dWh")
        Wx, Wh, prev_h, dout = w.inputs["Wx"], w.inputs["Wh"], w.inputs["prev_h"], w.douts[0]
        factors = {"dx": (dout, Wx.T), "dprev_h": (dout, Wh.T), "dWx": (x.T, dout), "dWh": (prev_h.T, dout)}
        if k in factors and "prev_c" not in w.inputs:
            yield "dnext_h in place of da", factors[k][0] @ factors[k][1]
        return
    h0 = w.inputs["h0"] if "h0" in w.inputs else w.inputs["A"].mean(axis=(2, 3))
    prev_h = np.concatenate([h0[:, None], outs["h"][:, :-1]], axis=1)
    rows = {"dWx": x, "dWh": prev_h, "db": np.ones((*x.shape[:2], 1))}
    for t in range(x.shape[1] if k in rows else 0):
        grad = (rows[k][:, t].T @ da[:, t]).reshape(w.right[k].shape)
        yield f"the gradient of x[:, {t}] alone: is it added to those of the other steps (+=)?", grad


def _quantities(inputs: Params) -> dict[str, Array]:
    """Return the factors in the equations of a step, and what mistakes put in their place, by their code."""
    a = inputs["x"] @ inputs["Wx"] + inputs["prev_h"] @ inputs["Wh"] + inputs["b"]
    named = {"a": a, "next_h": np.tanh(a)}
    if "prev_c" in inputs:
        gates = dict(zip("ifog", np.split(a, 4, axis=-1), strict=True))
        i, f, o = (1 / (1 + np.exp(-gates[n])) for n in "ifo")
        named = {f"a_{n}": gate for n, gate in gates.items()} | {"i": i, "f": f, "o": o, "g": np.tanh(gates["g"])}
        named |= {"prev_c": inputs["prev_c"], "next_c": f * inputs["prev_c"] + i * named["g"]}
        named |= {"tanh(next_c)": np.tanh(named["next_c"]), "next_h": o * np.tanh(named["next_c"])}
    values = {"1": np.ones_like(named["next_h"]), **named}
    for k, v in named.items():
        values |= {f"1 - {k}": 1 - v, f"1 - {k}**2": 1 - v**2, f"1 + {k}**2": 1 + v**2, f"{k} * (1 - {k})": v * (1 - v)}
        values |= {f"tanh({k})": np.tanh(v), f"1 - tanh({k})**2": 1 - np.tanh(v) ** 2}
        values |= {f"sigmoid({k})": 1 / (1 + np.exp(-v)), f"max(0, {k})": np.maximum(0, v)}
    return values


def _replaced(w: Wrong, got: Params, right: Params) -> str:
    """Search the factors that others replace in products of a step."""
    values, texts = _quantities(w.inputs), {}
    for target in (k for k in got if not _same(got[k], right[k])):
        found = [f"has the values of {other}" for other in right if _same(got[target], right[other])]
        for factor, (name, value) in itertools.product(FACTORS[target], values.items()):
            if factor in values and _same(got[target] * values[factor], right[target] * value):
                found.append(f"{factor} is missing" if name == "1" else f"{name} in place of {factor}")
        texts[target] = _factor(w, got[target], right[target]) or [*found, "is wrong"][0]
    return _listed(texts).replace("all 0", "does not contain dnext_h" if w.douts else "is wrong")


def _step_outputs(w: Wrong) -> str:
    """Explain the outputs of a step of an RNN or LSTM."""
    first = w.after({"prev_c": 0 * w.inputs["prev_c"]}) if "prev_c" in w.inputs else w
    target = "next_c" if "next_c" in first.failed else "next_h"  # next_h contains next_c
    text = _replaced(first, {target: first.got[target]}, {target: first.right[target]})
    return "" if text.endswith("is wrong") else text


def _da(w: Wrong) -> tuple[Array, Array, Array]:
    """Return da as the file's dx and captioner's contain it, and as the file's dWx does.

    Zeros as x with an identity matrix as Wx have da as their dx, and the reverse have it as their dWx.
    """
    x, Wx = w.inputs["x"], w.inputs["Wx"]
    (D, G), rows = Wx.shape, x[..., 0].size
    x = np.concatenate([x, np.zeros((*x.shape[:-1], G)), np.eye(rows).reshape(*x.shape[:-1], rows)], axis=-1)
    both = w.after({"x": x, "Wx": np.concatenate([Wx, np.eye(G), np.zeros((rows, G))])})
    right = both.right["dx"][..., D : D + G]
    return both.got["dx"][..., D : D + G], right, both.got["dWx"][D + G :].reshape(right.shape)


def _recurrent(w: Wrong) -> str:
    """Explain the gradients of an RNN or LSTM, which all contain da."""
    if w.failed == ["dh0"]:
        return "" if not w.got["dh0"].any() else "only dh0 is wrong: it is dprev_h after the last turn of the loop"
    got, right, of_dWx = _da(w)
    if (_same(got, right) and w.failed != ["dprev_c"]) or not _same(got, of_dWx):
        return ""
    if right.ndim == 3:
        return _steps(w, [_same(got[:, t], right[:, t]) for t in range(right.shape[1])])
    if "prev_c" not in w.inputs:
        return f"all gradients contain da, and all are wrong: {_replaced(w, {'da': got}, {'da': right})}"
    first = w._replace(douts=(w.douts[0], 0 * w.douts[1])).after({})  # all are products
    got, right, _ = _da(first)
    gates = [dict(zip(("da_i", "da_f", "da_o", "da_g"), np.split(a, 4, axis=-1), strict=True)) for a in (got, right)]
    text = _replaced(w, gates[0] | {"dprev_c": first.got["dprev_c"]}, gates[1] | {"dprev_c": first.right["dprev_c"]})
    known = " (dprev_c is right, so dc is)" if "dprev_c" not in w.failed else ""
    if w.failed == ["dprev_c"]:
        return "" if text.endswith("is wrong") else text
    return f"all gradients contain da: {text}{known}" if text else ""


def _steps(w: Wrong, is_right: list[bool]) -> str:
    """Explain gradients of a sequence by the steps at which da is right."""
    if not is_right[-1]:
        return "dx is wrong at the last step too: does the loop begin there, and are the equations of a step right?"
    if not w.after({}, [dout * (np.indices(dout.shape)[1] == dout.shape[1] - 1) for dout in w.douts]).failed:
        return "right if only the last step has an upstream gradient: is dh[:, t] added at each step?"
    if not any(is_right[:-1]):
        passed = "dprev_h" if w.inputs["b"].size == len(w.inputs["Wh"]) else "dprev_h, dprev_c"
        return f"dx is right at the last step only: is the gradient of the step after it ({passed}) added?"
    return f"dx is wrong at x[:, {is_right.index(False)}], and right at the last step"


def _way_back(w: Wrong) -> str:
    """Return the first wrong gradient on the way back from the output."""
    for names in ([f"d{k}" for k in way.split()] for way in WAYS_BACK):
        i = next((i for i, k in enumerate(names) if k in w.failed), 0)
        if i and names[0] in w.right:
            return (
                f"on the way back from the output, {names[i - 1]} is right, and {names[i]} is the first that is wrong"
            )
    return ""


HYPOTHESES = _precision, _softmax_axis, _changed, _step_outputs, _recurrent, _arrays, _loss, _way_back, _simplified
"""In the order in which they are tried; one that reads an array that is missing does not concern the function."""
