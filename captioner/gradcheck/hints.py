"""Name the mistake that explains the wrong numbers of a function of a file.

A hypothesis gives the numbers of a mistake, which captioner's functions return for other arguments, or which follow
from the right ones; or it is a simpler case, in which a function may be right. It is a hint if the numbers agree.
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
from captioner.gradcheck.cases import Layer
from captioner.gradcheck.numeric import PRECISION, SMALLEST, TOLERANCE, relative_error
from captioner.layers.scan import sequence_backward, sequence_forward


class Wrong(NamedTuple):
    """A wrong function, and its numbers: gradients for the upstream gradients `douts`, or outputs if there are none."""

    layers: tuple[Callable[[dict[str, Any]], Layer], Callable[[dict[str, Any]], Layer]]
    """Return the layer of the file, and captioner's, for values of the arguments without gradients, such as `fixed`."""
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

    def run(self, index: int, changes: Mapping[str, Any]) -> Params:
        """Return the numbers of the function of the file (index 0) or of captioner's (1) for changed arguments."""
        inputs, fixed = ({k: changes.get(k, v) for k, v in own.items()} for own in (self.inputs, self.fixed))
        layer = self.layers[index](fixed)
        outs, cache = layer.forward(*inputs.values())
        if not self.douts:
            return dict(zip(self.outs, outs, strict=True))
        grads = layer.backward(*changes.get("douts", self.douts), cache)
        return {f"d{k}": grad for k, grad in zip(inputs, grads, strict=True)}

    def after(self, changes: Mapping[str, Any]) -> Wrong:
        """Return the numbers of both functions for changed arguments."""
        return self._replace(got=self.run(0, changes), right=self.run(1, changes))


def hint(problem: str, is_of_numbers: bool, w: Wrong, is_backward: bool) -> str:
    """Return a hint at the mistake of a function with a problem, or ""."""
    with suppress(Exception), np.errstate(all="ignore"):  # code of the file may fail in another case
        return _of_numbers(w, is_backward) if is_of_numbers else _of_product(problem, w, is_backward)
    return ""


def shape_hint(name: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return a hint at a wrong shape of one of the results that have `shapes`, or ""."""
    if len(shapes[name]) == 1:
        return "sum over all axes but the last, without keepdims"
    names = ["its transpose"] * (shape == shapes[name][::-1]) + [k for k in shapes if shapes[k] == shape]
    return f"has the shape of {' and '.join(names)}" if names else ""


def _of_product(problem: str, w: Wrong, is_backward: bool) -> str:
    """Return a hint at a matrix product whose sizes do not fit, by the message of NumPy."""
    if sizes := re.search(r"\(size (\d+) is different from (\d+)\)|(\d+) \(dim \d\) != (\d+)", problem):
        fit = int(sizes[1] or sizes[4]), int(sizes[2] or sizes[3])
        arrays = w.inputs | w.outs | {f"d{k}": out for k, out in w.outs.items() if is_backward}
        names = [f"{k}.T {fit[::-1]}" for k, array in arrays.items() if np.shape(array) == fit]
        return f"is a transpose missing? {' or '.join(names)} would fit" if names else ""
    return ""


def _of_numbers(w: Wrong, is_backward: bool) -> str:
    """Return the hint of the first hypothesis that explains the numbers."""
    if is_backward and w.after({}).failed:
        return "first correct the forward function"
    rng = np.random.default_rng(2)
    w = w._replace(douts=tuple(rng.standard_normal(np.shape(out)) for out in w.outs.values() if is_backward)).after({})
    if max(relative_error(w.got[k], w.right[k], SMALLEST) for k in w.failed) < 1e-4:
        return "the error is small: is a part in float32, or a small constant such as eps wrong?"
    for hypothesis in (partial(_first, cases=_changes), _recurrent, _arrays, partial(_first, cases=_simpler)):
        with suppress(Exception):
            if text := hypothesis(w):
                return text
    return ""


def _same(a: Array, b: Array) -> bool:
    return np.shape(a) == np.shape(b) and relative_error(a, b) <= TOLERANCE


def _first(w: Wrong, cases: Callable[[Wrong], Iterator[tuple[str, dict[str, Any]]]]) -> str:
    """Return the first case in which no number is wrong; in a simpler one, the function of the file is called too."""
    for text, case in cases(w):
        with suppress(Exception):  # shapes may not fit
            other = w.after(case) if cases is _simpler else w._replace(right=w.run(1, case))
            if not other.failed and all(other.right[k].any() for k in w.failed):  # that 0 is right says nothing
                return f"{'right if' if cases is _simpler else 'the result of'} {text}"
    return ""


def _simpler(w: Wrong) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield simpler arguments, by which a function ignores a part, or in which one with a mistake may be right."""
    simple = {k: np.ones_like(v) for k, v in w.fixed.items() if k.endswith("mask") and v is not None}
    for k, value in {**simple, "num_heads": 1, "ln_param": {}}.items():
        yield f"{k} = {value if np.ndim(value) == 0 else True}", {k: value}
    for k in (k for k in w.inputs if k != "x"):  # if x is 0, most mistakes are hidden
        n = int(k.startswith("gamma"))
        yield f"{k} = {n}", {k: np.full_like(w.inputs[k], n)}
    for i, out in enumerate(w.outs if len(w.douts) > 1 else ()):
        yield f"d{out} = 0", {"douts": [dout * (i != j) for j, dout in enumerate(w.douts)]}
    # Upstream gradients that are orthogonal to each row of attn @ Wo, attn or gamma * normed.
    softmax = "the term that a softmax subtracts, Σ attn_weights * dattn_weights, is 0"
    terms = {"attn": softmax, "bo": f"num_heads = 1, and {softmax}"}
    terms["gamma"] = "the term of the variance, the mean of dout * gamma * normed, is 0"
    for k in terms.keys() & {*w.inputs, *w.outs} if w.douts else ():
        outs, bias = w._replace(douts=()).run(1, {"num_heads": 1}), w.inputs.get("beta", w.inputs.get("bo", 0))
        units = [(out - bias) / np.linalg.norm(out - bias, axis=-1, keepdims=True) for out in outs.values()]
        pairs = zip(w.douts, units, strict=True)
        yield terms[k], {"num_heads": 1, "douts": [d - u * (d * u).sum(axis=-1, keepdims=True) for d, u in pairs]}


def _changes(w: Wrong) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield arguments of captioner's function that give the numbers of a mistake."""
    layer = w.layers[1](w.fixed)
    names = layer.cell.gate_names
    gated = {k: np.split(w.inputs[k], len(names), axis=-1) for k in w.inputs if names and layer.shapes[k][-1] == "G"}
    for order in itertools.permutations(names):
        expected = f"the gate order {', '.join(order)}; expected {', '.join(names)}"
        yield expected, {k: np.concatenate([parts[order.index(n)] for n in names], -1) for k, parts in gated.items()}
    for k, mask in ((k, mask) for k, mask in w.fixed.items() if k.endswith("mask") and mask is not None):
        yield f"~{k}: True is for what is allowed", {k: mask == 0}
        yield f"a causal {k}", {k: np.tri(*mask.shape) > 0}
    yield from ((f"{text}: is it ignored?", case) for text, case in _simpler(w))
    for k, array in w.inputs.items():
        yield " in place of ".join([k, f"{k}.T"][:: 1 if w.douts else -1]), {k: array.T}
        for other in (other for other in w.inputs if other != k and w.inputs[other].shape == array.shape):
            yield f"{other} in place of {k}", {k: w.inputs[other]}
            yield f"{k} and {other} interchanged", {k: w.inputs[other], other: array}
    for name, c in _constants(w).items() if "Wx" not in w.inputs else ():
        query = {k: c * array for k, array in w.inputs.items() if k in ("Wq", "bq", "prev_h")}
        yield f"scores {c:.4g} times as large ({name})", query


def _da(w: Wrong) -> tuple[Array, Array]:
    """Return da of both functions: with zeros after x and an identity matrix below Wx, it is the end of dx."""
    x, Wx = w.inputs["x"], w.inputs["Wx"]
    zeros, identity = np.zeros((*x.shape[:-1], Wx.shape[1])), np.eye(Wx.shape[1])
    wide = w.after({"x": np.concatenate([x, zeros], axis=-1), "Wx": np.concatenate([Wx, identity])})
    return wide.got["dx"][..., x.shape[-1] :], wide.right["dx"][..., x.shape[-1] :]


def _recurrent(w: Wrong) -> str:
    """Explain the gradients of an RNN or LSTM, which all contain da."""
    if not {"dx", "dWx", "dWh", "db"} <= {*w.failed}:
        return ""
    if w.inputs["x"].ndim == 2:
        names = [f"da_{n}" for n in w.layers[1](w.fixed).cell.gate_names] or ["da"]
        blocks = [dict(zip(names, np.split(da, len(names), axis=-1), strict=True)) for da in _da(w)]
        gates = w._replace(got=blocks[0], right=blocks[1])
        parts, factors = ", ".join(gates.failed), [gates.got[k] / gates.right[k] for k in gates.failed]
        if parts == "da_i, da_f, da_g" and all(_same(factor, factors[0]) for factor in factors):
            parts = f"dc, which is in {parts}"
        text = _arrays(gates) or f"first correct {parts}"
        return f"all gradients contain da: {text}" if gates.failed else ""
    got, right = w.got["dx"], w.right["dx"]
    with suppress(Exception):  # attention has no h0
        return next(text for text, dx in _loops(w) if _same(got, dx))
    wrong = [t for t in range(right.shape[1]) if not _same(got[:, t], right[:, t])]
    return f"dx is {'wrong' if got[:, wrong].any() else 0} at the steps {wrong}" if wrong else ""


def _loops(w: Wrong) -> Iterator[tuple[str, Array]]:
    """Yield mistakes of a loop over the steps, with the dx that they give."""
    (dh,), cell, (got, right) = w.douts, w.layers[1](w.fixed).cell, _da(w)
    last = np.copy(dh)
    last[:, -1] *= (got / right)[:, -1, : dh.shape[2]]  # gives da of the file at the last step
    if dh.shape[1] > 1:
        text = "the result of a loop that does not start at the last step, or with dprev_h = 0"
        yield text, w.run(1, {"douts": (last,)})["dx"]
    x, h0, *weights = w.inputs.values()
    _, cache = sequence_forward(cell, x, (h0, np.zeros_like(h0))[: cell.states], *weights)
    turned = cache.packing._replace(steps=[steps[::-1] for steps in cache.packing.steps])
    no_dc = np.concatenate([cache.saved[:5], 0 * cache.saved[5:]])  # that of the LSTM has f at its end
    after = "dx is right at the last step only: is the gradient of the step after it ({})"
    cases: dict[str, dict[str, Any]] = {
        "the result of a loop from the first to the last step": {"packing": turned},
        f"{after.format('dprev_h')} added to dh[:, t]?": {"Wh": 0 * cache.Wh},
        f"{after.format('dprev_c')} passed to the step?": {"saved": no_dc},
        f"{after.format('dprev_h, dprev_c')} passed to the step?": {"Wh": 0 * cache.Wh, "saved": no_dc},
    }
    yield from ((text, sequence_backward(cell, dh, cache._replace(**case))[0]) for text, case in cases.items())


def _arrays(w: Wrong) -> str:
    """Explain wrong arrays one by one; if most are not explained, the mistake is before them."""
    groups: dict[str, list[str]] = {}
    for k in w.failed:
        with suppress(Exception):
            found = (text for text, values in _mistakes(w, k, w.got[k], w.right[k]) if _same(w.got[k], values))
            groups.setdefault(next(found), []).append(k)
    is_few = 2 * sum(map(len, groups.values())) < len(w.failed)
    return "" if is_few else "; ".join(f"{', '.join(names)}: {text}" for text, names in groups.items())


def _mistakes(w: Wrong, k: str, got: Array, right: Array) -> Iterator[tuple[str, Array]]:
    """Yield mistakes with the numbers that they give for one array; parts that they do not concern are right."""
    factor = round(float(np.vdot(got, right) / np.vdot(right, right)), 9)
    named = [f" ({name})" for name, c in _constants(w).items() if abs(factor - c) < TOLERANCE * c and factor != 2]
    if named or np.size(right) > 2 or factor in (-1, 0, 2):
        yield f"{factor:.4g} times the right value{''.join(named[:1])}", factor * right
    yield from ((f"has the values of {other}", values) for other, values in w.right.items() if other != k)
    yield "is transposed", right.swapaxes(-1, -2) if right.ndim > 1 else right
    if k == "attn_weights" and np.allclose(right.sum(axis=(1, 2)), 1) and not np.allclose(got.sum(axis=(1, 2)), 1):
        yield "must sum to 1 over all regions of a caption", got
    if k == "dx" and np.allclose(right.sum(axis=-1), 0) and not np.allclose(got.sum(axis=-1), 0):
        part = "is the gradient of the mean right?" if "gamma" in w.inputs else "is 1 subtracted at the words y?"
        yield f"each row must sum to 0: {part}", got
    if k == "dx" and "gamma" in w.inputs:
        std = np.sqrt(w.inputs["x"].var(axis=-1, keepdims=True) + w.fixed["ln_param"].get("eps", 1e-5))
        yield from (("is not divided by std", right * std), ("is divided by std twice", right / std))
    if k == "dA" and "Wx" in w.inputs:
        constant = right + (got - right).mean(axis=(2, 3), keepdims=True)
        yield "the error is the same for all regions: is the gradient of their mean, h0 and c0, right?", constant
    for name, W in w.inputs.items() if w.douts else ():
        if W.shape == (*right.shape[-1:],) * 2:
            yield f"@ {name} in place of @ {name}.T", right @ np.linalg.inv(W.T) @ W
    if k == "dW" and (np.abs(got - right).max(axis=1) > TOLERANCE).sum() > 1:
        is_repeated = np.bincount(w.fixed["x"].ravel(), minlength=len(right))[:, None] > 1
        yield "wrong only for words that occur again: np.add.at adds all", np.where(is_repeated, got, right)
    if k == "da" and "prev_h" in w.inputs:
        yield "1 - next_h**2 is missing", w.douts[0]
    if k in ("dWx", "dWh", "db") and "Wx" in w.inputs:
        yield from _weight_mistakes(w, k, right.shape)


def _constants(w: Wrong) -> dict[str, float]:
    """Return factors by which results may be wrong, by their names; 2 has many causes."""
    layer, mask = w.layers[1](w.fixed), w.fixed.get("mask")
    letters = sorted({"N", *"".join(layer.shapes.values())} - {"G"})
    sizes = {k.replace("U", "T"): float(layer.sizes[k]) for k in letters if layer.sizes[k] != 2}
    sizes |= {"E / num_heads": sizes["E"] / w.fixed["num_heads"]} if "num_heads" in w.fixed else {}
    sizes |= {"N / number of words": len(mask) / mask.sum()} if mask is not None else {}
    sizes |= {"(N T)": sizes["N"] * sizes["T"]} if "T" in sizes else {}
    sizes |= {f"sqrt({k})": size**0.5 for k, size in sizes.items()}
    return sizes | {f"1 / {k}": 1 / size for k, size in sizes.items()}


def _weight_mistakes(w: Wrong, k: str, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """Yield the parts that the steps add to a gradient of the weights of an RNN or LSTM, for a correct da."""
    x, da = w.inputs["x"], _da(w)[1]
    h0 = w.inputs["h0"] if "h0" in w.inputs else w.inputs["A"].mean(axis=(2, 3))
    prev_h = np.concatenate([h0[:, None], w.outs["h"][:, :-1]], axis=1)
    rows = {"dWx": x, "dWh": prev_h, "db": np.ones((*x.shape[:2], 1))}[k]
    text = "the gradient of x[:, {}] alone: is it added to those of the other steps (+=)?"
    yield from ((text.format(t), (rows[:, t].T @ da[:, t]).reshape(shape)) for t in range(x.shape[1]))
