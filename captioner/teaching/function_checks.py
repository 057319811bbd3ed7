"""Check functions that have the names and signatures of CS231n, against those of captioner."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import UsageError, printable, similar
from captioner.gradcheck.layer_case import Layer, layer_case
from captioner.gradcheck.numeric import (
    PRECISION,
    SMALLEST,
    TOLERANCE,
    Case,
    compare_elements,
    numeric_gradient,
    relative_error,
)
from captioner.layers.cell import Cell
from captioner.layers.lstm import LSTM
from captioner.layers.rnn import RNN
from captioner.teaching.child_process import Unknown, run
from captioner.teaching.hints import Numbers, hint, shape_hint

Functions: TypeAlias = Mapping[str, Any]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Signatures: TypeAlias = Mapping[str, "Signature"]
LETTERS = {"N": 4, "T": 5, "U": 9, "L": 7, "D": 2, "H": 3, "V": 11, "E": 6, "J": 8}
"""Dimension sizes by letter: all differ, also from that of a head. Variants have others, as code may contain these."""
OTHER_SIZES = {"N": 2, "T": 3, "L": 6, "E": 8, "J": 5, "F": 3 * 6 * 8}
ONE_ROW = {"N": 1, "T": 1, "U": 1, "L": 1, "D": 5, "H": 2, "V": 7, "E": 9, "J": 4}
_RECURRENT = {"Wx": "DG", "Wh": "HG", "b": "G"}
_ATTENTION = {f"{kind}{name}": shape for name in "qkvo" for kind, shape in (("W", "EE"), ("b", "E"))}
_ATTENTIONS = {f"{prefix}{name}": s for prefix in ("self_", "cross_") for name, s in _ATTENTION.items()}
_NORMS = {f"{name}{i}": "E" for i in (1, 2, 3) for name in ("gamma", "beta")}


class Signature(NamedTuple):
    """The arguments and results of a pair X_forward and X_backward, or of one function that returns its gradient.

    A forward function has as arguments the arrays of `shapes` and `fixed` values, and returns `outs` and a cache. A
    backward function has as arguments the gradients of `outs` and the cache, and returns those of the arrays. If
    `outs` is ("loss",), the function is called X, and returns the loss and its gradient with respect to its one array.
    """

    shapes: dict[str, str]
    """The arrays, in the order of the arguments: for each dimension, a letter of `LETTERS`, or G for all gates."""
    outs: tuple[str, ...] = ("out",)
    cell: Cell = RNN
    """Its number of gates times H is G; the errors of gates have the letters of its `gate_names`."""
    fixed: Callable[[np.random.Generator, Mapping[str, int]], dict[str, Any]] = lambda rng, n: {}
    """Returns the arguments without gradients, after the arrays (x, which are ids of words, before them)."""
    positional: int | None = None
    """The number of arrays that are arguments; all further ones are entries of one dict. Default: all."""
    variants: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """Fields of further calls, by the description that follows their problems."""
    sizes: Mapping[str, int] = MappingProxyType({})
    """The sizes of letters that differ from `LETTERS`."""
    offset: Mapping[str, float | Array] = MappingProxyType({})
    """Added to the arrays of these names."""
    uses: tuple[str, ...] = ()
    """The pairs that code usually calls, and may import, unless they are required."""


def _mask(rng: np.random.Generator, *shape: int) -> Array:
    """Return a random mask with at least one True in each row."""
    values = rng.random(shape)
    return np.asarray(values <= values.mean(axis=1, keepdims=True))


def _words(rng: np.random.Generator, n: Mapping[str, int]) -> dict[str, Any]:
    """Return ids and a mask; the second caption has no words."""
    mask = _mask(rng, n["N"], n["U"]) & (np.arange(n["N"]) != 1)[:, None]
    return {"y": rng.integers(n["V"], size=mask.shape), "mask": mask}


_AXES = {" [x of four axes]": {"shapes": {"x": "NTLE", "w": "FH", "b": "H"}, "sizes": OTHER_SIZES}}
_NEAR_1000 = " [scores near 1000: is the maximum of each row subtracted first?]"  # exp of a large score is infinite
_SCORES = {_NEAR_1000: {"offset": {"x": 1000 * np.eye(3)[..., None]}, "sizes": {"N": 3, "U": 3, "V": 8}}}
_LARGE = {_NEAR_1000: {"offset": {"A": 1000.0, "bk": 1000.0}, "sizes": {"L": 1}}}  # a weight of exactly 1
_STATE = {_NEAR_1000: {"offset": {"A": 40.0}, "sizes": {"L": 1}}}  # it is the mean of A
_GATES = {" [gates near 1000: is exp of a large number avoided?]": {"offset": {"b": 1000.0}}}
_ROWS: dict[str, dict[str, Any]] = {" [x of three axes]": {"shapes": {"x": "NTE", "gamma": "E", "beta": "E"}}}
_EPS = {" [eps 0.1]": {"fixed": lambda rng, n: {"ln_param": {"eps": 0.1}}, "sizes": OTHER_SIZES}}
_NO_MASK = {" [2 heads, no mask]": {"fixed": lambda rng, n: {"num_heads": 2}, "sizes": OTHER_SIZES}}
_SEQUENCE = {"x": "NTD", "h0": "NH", **_RECURRENT}
SIGNATURES: Mapping[str, Signature] = {
    "affine": Signature({"x": "ND", "w": "DH", "b": "H"}, variants=_AXES),
    "temporal_affine": Signature({"x": "NTD", "w": "DH", "b": "H"}, uses=("affine",)),
    "word_embedding": Signature({"W": "VD"}, fixed=lambda rng, n: {"x": rng.integers(n["V"], size=(n["N"], n["T"]))}),
    "temporal_softmax_loss": Signature({"x": "NUV"}, ("loss",), fixed=_words, variants=_SCORES),
    "layernorm": Signature(
        {"x": "NE", "gamma": "E", "beta": "E"}, fixed=lambda *_: {"ln_param": {}}, variants=_ROWS | _EPS
    ),
    "rnn_step": Signature({"x": "ND", "prev_h": "NH", **_RECURRENT}, ("next_h",)),
    "lstm_step": Signature(
        {"x": "ND", "prev_h": "NH", "prev_c": "NH", **_RECURRENT}, ("next_h", "next_c"), LSTM, variants=_GATES
    ),
    "rnn": Signature(_SEQUENCE, ("h",), uses=("rnn_step",)),
    "lstm": Signature(_SEQUENCE, ("h",), LSTM, uses=("lstm_step",)),
    "dot_product_attention": Signature({"prev_h": "NH", "A": "NHLL"}, ("attn", "attn_weights"), variants=_LARGE),
    "attention": Signature(
        {"x": "NTD", "A": "NHLL", "Wx": "DG", "Wh": "HG", "Wattn": "HG", "b": "G"},
        ("h",),
        LSTM,
        variants=_STATE,
        uses=("dot_product_attention", "lstm_step"),
    ),
    "multi_head_attention": Signature(
        {"query": "NTE", "key": "NLE", "value": "NLE", **_ATTENTION},
        fixed=lambda rng, n: {"num_heads": 3, "attn_mask": _mask(rng, n["T"], n["L"])},
        positional=3,
        variants=_NO_MASK | _LARGE,
    ),
    "decoder_layer": Signature(
        {"tgt": "NTE", "memory": "NLE", **_ATTENTIONS, "W1": "EJ", "b1": "J", "W2": "JE", "b2": "E", **_NORMS},
        fixed=lambda rng, n: {"num_heads": 3, "tgt_mask": _mask(rng, n["T"], n["T"])},
        positional=2,
        variants=_NO_MASK,
        uses=("multi_head_attention", "layernorm"),
    ),
}
"""The functions that can be checked, inner ones first."""


class FunctionResult(NamedTuple):
    """What is wrong with a function, or "" if it passes, and its relative error: infinity if it returns no numbers."""

    name: str
    problem: str
    error: float

    def line(self) -> str:
        """Return the line that is printed."""
        verdict = f"FAIL  {self.problem}" if self.problem else f"PASS  maximum relative error {self.error:.1e}"
        return f"{self.name:<30} {verdict}"


class WrongFunctionError(Exception):
    """What is wrong with a function that is checked."""


class RemoteFunction(partial[tuple[str, Any]]):
    """A function of another process: with `arguments, watched`, it returns what `run` does."""


class Example(NamedTuple):
    """Arguments of a pair of functions, and the right results: outputs, and gradients for fixed upstream gradients."""

    note: str
    """Follows the problems of this example."""
    signature: Signature
    fixed: dict[str, Any]
    outs: Params
    case: Case
    """The arguments with gradients, and the scalar function <outs, upstream gradients>."""
    grads: Params
    """Computed by central differences."""


@dataclass(frozen=True, eq=False)
class Exercises:
    """The functions that can be checked: their signatures, and the reference, whose results are computed once."""

    reference: Functions
    signatures: Signatures = field(default_factory=lambda: SIGNATURES)
    files: Sequence[Path] = ()
    """The files that define them, which a submission may not use."""
    _examples: dict[str, list[Example]] = field(default_factory=dict, init=False)

    def pair(self, name: str) -> tuple[str, str]:
        """Return the names of the forward and the backward function, which may be the same."""
        return (name, name) if self.signatures[name].outs == ("loss",) else (f"{name}_forward", f"{name}_backward")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all functions."""
        return tuple(dict.fromkeys(function for name in self.signatures for function in self.pair(name)))

    def examples(self, name: str) -> list[Example]:
        """Return an example of a signature, one of each of its variants, and one with one row."""
        if name not in self._examples:
            own = self.signatures[name]
            variants = {"": {}, **own.variants, " [one row]": {"sizes": {**ONE_ROW, **own.sizes}}}
            self._examples[name] = [self._example(name, note, own._replace(**f)) for note, f in variants.items()]
        return self._examples[name]

    def _example(self, name: str, note: str, signature: Signature) -> Example:
        fixed = signature.fixed(np.random.default_rng(0), {**LETTERS, **signature.sizes})
        layer = _layer(self.pair(name), signature, self.reference, fixed)
        case = layer_case(name, layer, LETTERS, np.random.default_rng(0))
        outs = dict(zip(signature.outs, layer.forward(*case.arrays.values())[0], strict=True))
        grads = {k: numeric_gradient(case.loss, x) for k, x in case.arrays.items()}
        return Example(note, signature, fixed, outs, case, grads)

    def checked_name(self, name: str, others: Iterable[str] = ()) -> str:
        """Return the name of a function, or one of `others`. Raises: UsageError that names a similar one."""
        if name in (names := [*others, *self.names]):
            return name
        near = similar(name, names)
        remedy = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}"
        raise UsageError(f"{name}: unknown function; {remedy}")


class Call(NamedTuple):
    """The functions that are checked as a layer, for an example."""

    layer: Layer
    example: Example
    numbers: Numbers


def check_functions(functions: Functions, exercises: Exercises) -> Iterator[FunctionResult]:
    """Compare values of functions with those of the reference, and gradients with numeric ones of the reference.

    A backward function is checked with the correct forward function beside it, because it reads its cache.
    """
    causes: dict[str, str] = {}
    for name in exercises.signatures:
        forward, backward = exercises.pair(name)
        if forward not in functions and backward not in functions:
            continue
        calls = [_call_of((forward, backward), example, functions, exercises) for example in exercises.examples(name)]
        result = FunctionResult(forward, "missing", np.inf)
        if forward in functions:
            result = _result(forward, _check_values, calls)
            if forward == backward and not result.problem:
                result = _result(forward, _check_gradients, calls, result.error)
            yield _with_cause(result, name, exercises, causes)
        if backward not in functions or forward == backward:
            continue
        if result.problem:
            yield FunctionResult(backward, f"not checked: it needs a correct {forward}", np.inf)
        else:
            yield _with_cause(_result(backward, _check_gradients, calls), name, exercises, causes)


def _with_cause(result: FunctionResult, name: str, exercises: Exercises, causes: dict[str, str]) -> FunctionResult:
    """Name the wrong inner function that may cause a problem, in place of different numbers; add it to `causes`.

    A function that is correct with a wrong inner one does not use it, and passes.
    """
    if result.problem:
        kind = result.name.removeprefix(name)
        inner = [causes[f"{use}{kind}"] for use in exercises.signatures[name].uses if f"{use}{kind}" in causes]
        causes[result.name] = next(iter(inner), result.name)
        if inner:
            first = f"fix {inner[0]} first"
            return result._replace(problem=first if np.isfinite(result.error) else f"{first}; {result.problem}")
    return result


def _call_of(pair: tuple[str, str], example: Example, functions: Functions, exercises: Exercises) -> Call:
    own, right = (partial(_layer, pair, example.signature, each) for each in (functions, exercises.reference))
    numbers = Numbers(own, right, example.fixed, example.case.arrays, example.outs, (), {}, {})
    shapes = {k: out.shape for k, out in example.outs.items()}
    return Call(_layer(pair, example.signature, functions, example.fixed, shapes), example, numbers)


def _result(
    function: str, check: Callable[[Call], tuple[str, float]], calls: Iterable[Call], largest: float = 0.0
) -> FunctionResult:
    """Return the first problem of a function, or its largest error in all calls, at least `largest`."""
    for call in calls:
        try:
            problem, error = check(call)
        except WrongFunctionError as wrong:
            problem, error = str(wrong), np.inf
        if problem:
            text = hint(problem, bool(np.isfinite(error)), call.numbers, check is _check_gradients)
            return FunctionResult(function, "; ".join(filter(None, (text, problem + call.example.note))), error)
        largest = max(largest, error)
    return FunctionResult(function, "", largest)


def _check_values(call: Call) -> tuple[str, float]:
    """Compare the outputs of a forward function with those of the reference."""
    outs, right = call.layer.forward(*call.example.case.arrays.values())[0], call.example.outs
    errors = {k: relative_error(out, right[k], SMALLEST) for k, out in zip(right, outs, strict=True)}
    wrong = ", ".join(f"{k} {right[k].shape} {error:.1e}" for k, error in errors.items() if error > PRECISION)
    problem = f"differs from the reference (relative error above {PRECISION:.0e}): {wrong}" if wrong else ""
    return problem, max(errors.values())


def _check_gradients(call: Call) -> tuple[str, float]:
    """Compare all elements of the gradients of a backward function with numeric ones of the reference."""
    own, case = layer_case("", call.layer, LETTERS, np.random.default_rng(0)).grads(), call.example.case
    rows = [compare_elements(case, k, right, own[k], SMALLEST) for k, right in call.example.grads.items()]
    failed = [(f"d{row.array}", case.arrays[row.array].shape, row) for row in rows if not row.passed]
    wrong = ", ".join(f"{name} {shape} {row.error:.1e}{row.by_part()}" for name, shape, row in failed)
    problem = f"differs from numeric gradients (relative error above {TOLERANCE:.0e}): {wrong}" if wrong else ""
    return problem, max(row.error for row in rows)


def _layer(
    function_pair: tuple[str, str],
    signature: Signature,
    functions: Functions,
    fixed: dict[str, Any],
    shapes: Shapes | None = None,
) -> Layer:
    """Wrap functions as a layer, whose functions raise WrongFunctionError.

    `fixed` are the arguments without gradients, and `shapes` those of the outputs; without them, any is accepted.
    """
    names = tuple(f"d{k}" for k in signature.shapes)
    count = signature.positional or len(names)
    forward_name, backward_name = function_pair
    is_one = forward_name == backward_name

    def forward(*arrays: Array) -> tuple[tuple[Array, ...], Any]:
        inputs = {k: array + signature.offset.get(k, 0.0) for k, array in zip(signature.shapes, arrays, strict=True)}
        expected = {f"d{k}": array.shape for k, array in inputs.items()}
        weights = dict([*inputs.items()][count:])
        arguments = dict([*inputs.items()][:count]) | ({"params": weights} if weights else {})
        own = copy.deepcopy(fixed)  # a function may change it
        arguments = own | arguments if "x" in fixed else arguments | own
        results = *signature.outs, names[0] if is_one else "cache"
        *values, cache = _call(functions, forward_name, [*arguments.values()], [*arguments], results)
        outs = _checked_arrays(dict(zip(signature.outs, values, strict=True)), shapes)
        if is_one:
            return outs, _checked_arrays({names[0]: cache}, expected)[0]
        shared = [f"cache ({k} of {forward_name})" for k in (*arguments, *signature.outs)]
        return outs, (cache, [_other(value) for value in arguments.values()], shared, expected)

    def backward(*douts_and_cache: Any) -> tuple[Array, ...]:
        *douts, forward_cache = douts_and_cache
        if is_one:
            return (douts[0] * forward_cache,)
        cache, others, shared, expected = forward_cache
        with suppress(WrongFunctionError):  # a backward function may read nothing but its cache
            _call(functions, forward_name, others, [], (*signature.outs, "cache"))
        results = names if count == len(names) else (*names[:count], "grads")
        grads = _call(functions, backward_name, [*douts, cache], [*(f"d{k}" for k in signature.outs), *shared], results)
        if count < len(names):
            weights = grads.pop()
            if not isinstance(weights, dict):
                raise WrongFunctionError(f"grads: expected a dict, got {_type_name(weights)}")
            if missing := [k[1:] for k in names[count:] if k[1:] not in weights]:
                raise WrongFunctionError(f"grads: expected the keys of params, {', '.join(missing)} missing")
            grads += [weights[k[1:]] for k in names[count:]]
        return _checked_arrays(dict(zip(names, grads, strict=True)), expected)

    return Layer(signature.shapes, forward, backward, signature.cell, {**LETTERS, **signature.sizes})


def _other(value: Any) -> Any:
    """Return another value of the same type and shape for arrays and dicts of arrays."""
    if isinstance(value, dict):
        return {key: _other(each) for key, each in value.items()}
    return 0.5 * value if isinstance(value, np.ndarray) and value.dtype == np.float64 else copy.deepcopy(value)


def _call(
    functions: Functions, name: str, arguments: list[Any], watched: list[str], names: tuple[str, ...]
) -> list[Any]:
    """Call a function, and return one value per name; `watched` names the values that it must not change.

    Raises: WrongFunctionError if it raises, modifies a value, or returns None or another number of values.
    """
    function = functions[name]
    call = function if isinstance(function, RemoteFunction) else partial(run, functions, name)
    kind, returned = call(arguments, watched)
    if kind == "raised":
        raise WrongFunctionError(printable(returned, 400) or "fails")  # an empty problem is none
    is_several = isinstance(returned, tuple | list)
    values = list(returned) if is_several else [returned]
    if not values or any(a is None for a, name in zip(values, names, strict=False) if name != "cache"):
        raise WrongFunctionError("returns None: is return missing?")
    if len(values) != len(names):
        got = f"{len(values)} values" if is_several else f"a value of type {_type_name(returned)}"
        raise WrongFunctionError(f"expected it to return {', '.join(names)}, got {got}")
    return values


def _type_name(value: Any) -> str:
    return printable(value.type_name if isinstance(value, Unknown) else type(value).__name__, 60)


def _checked_arrays(values: Mapping[str, Any], shapes: Shapes | None) -> tuple[Array, ...]:
    """Return results as arrays. Raises: WrongFunctionError for another type or shape, and for NaN or infinity."""
    arrays = []
    for name, value in values.items():
        array = np.asarray(value) if isinstance(value, int | float | np.generic) else value
        if type(array) is not np.ndarray:
            raise WrongFunctionError(f"{name}: expected an array of float64, got {_type_name(value)}")
        if shapes is not None and array.shape != shapes[name]:
            problem = f"{name}: expected the shape {shapes[name]}, got {array.shape}"
            raise WrongFunctionError("; ".join(filter(None, (shape_hint(name, array.shape, shapes), problem))))
        if array.dtype != np.float64:
            raise WrongFunctionError(f"{name}: expected float64, as its inputs, got {array.dtype}")
        if not np.isfinite(array).all():
            raise WrongFunctionError(f"{name}: expected finite numbers, got NaN or infinity")
        arrays.append(array)
    return tuple(arrays)
