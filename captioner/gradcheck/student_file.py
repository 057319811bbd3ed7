"""Check the functions of a file that have the names and signatures of CS231n, against those of captioner."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import UsageError, printable, similar
from captioner.gradcheck.cases import Layer, layer_case
from captioner.gradcheck.hints import Wrong, hint, shape_hint
from captioner.gradcheck.numeric import PRECISION, SMALLEST, TOLERANCE, check_gradients, relative_error
from captioner.gradcheck.submission import run
from captioner.layers.cell import Cell
from captioner.layers.lstm import LSTM
from captioner.layers.rnn import RNN
from captioner.model.parameters import Sizes

Functions: TypeAlias = Mapping[str, Any]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Signatures: TypeAlias = Mapping[str, "Signature"]
ABOVE = "(relative error above {:.0e})"
SIZES = Sizes(vocab=11, feature=1, wordvec=2, hidden=3)
LETTERS = {"N": 4, "T": 5, "U": 9, "L": 7, "D": SIZES.wordvec, "H": SIZES.hidden, "V": SIZES.vocab, "E": 6, "J": 8}
"""The sizes of letters: all differ, also those of a head. Variants have other sizes: code may contain these."""
OTHERS = {"N": 2, "T": 3, "L": 6, "E": 8, "J": 5, "F": 3 * 6 * 8}
ONE = {"N": 1, "T": 1, "U": 1, "L": 1, "D": 5, "H": 2, "V": 7, "E": 9, "J": 4}
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
    """The pairs that code usually calls."""


def _mask(rng: np.random.Generator, *shape: int) -> Array:
    """Return a random mask with at least one True in each row."""
    values = rng.random(shape)
    return np.asarray(values <= values.mean(axis=1, keepdims=True))


def _words(rng: np.random.Generator, n: Mapping[str, int]) -> dict[str, Any]:
    """Return ids and a mask; the second caption has no words."""
    mask = _mask(rng, n["N"], n["U"]) & (np.arange(n["N"]) != 1)[:, None]
    return {"y": rng.integers(n["V"], size=mask.shape), "mask": mask}


_AXES = {" [x of four axes]": {"shapes": {"x": "NTLE", "w": "FH", "b": "H"}, "sizes": OTHERS}}
_NEAR_1000 = " [scores near 1000: is the maximum of each row subtracted first?]"  # exp of a large score is infinite
_SCORES = {_NEAR_1000: {"offset": {"x": 1000 * np.eye(3)[..., None]}, "sizes": {"N": 3, "U": 3, "V": 8}}}
_LARGE = {_NEAR_1000: {"offset": {"A": 1000.0, "bk": 1000.0}, "sizes": {"L": 1}}}  # a weight of exactly 1
_STATE = {_NEAR_1000: {"offset": {"A": 40.0}, "sizes": {"L": 1}}}  # it is the mean of A
_ROWS: dict[str, dict[str, Any]] = {" [x of three axes]": {"shapes": {"x": "NTE", "gamma": "E", "beta": "E"}}}
_EPS = {" [eps 0.1]": {"fixed": lambda rng, n: {"ln_param": {"eps": 0.1}}, "sizes": OTHERS}}
_NO_MASK = {" [2 heads, no mask]": {"fixed": lambda rng, n: {"num_heads": 2}, "sizes": OTHERS}}
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
    "lstm_step": Signature({"x": "ND", "prev_h": "NH", "prev_c": "NH", **_RECURRENT}, ("next_h", "next_c"), LSTM),
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
        uses=("affine", "temporal_affine"),
    ),
    "decoder_layer": Signature(
        {"tgt": "NTE", "memory": "NLE", **_ATTENTIONS, "W1": "EJ", "b1": "J", "W2": "JE", "b2": "E", **_NORMS},
        fixed=lambda rng, n: {"num_heads": 3, "tgt_mask": _mask(rng, n["T"], n["T"])},
        positional=2,
        variants=_NO_MASK,
        uses=("multi_head_attention", "layernorm", "affine", "temporal_affine"),
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


class Call(NamedTuple):
    """A call of functions of a file: a note for its problems, its inputs, and captioner's outputs and layer."""

    note: str
    layer: Layer
    inputs: Params
    outs: Params
    known: Layer
    numbers: Wrong
    """What explains a problem of the call."""


class RemoteFunction(NamedTuple):
    """A function of another process: `call(arguments, {}, watched)` returns what `run` does."""

    call: Callable[..., tuple[str, Any]]


def function_names(name: str, signatures: Signatures = SIGNATURES) -> tuple[str, str]:
    """Return the names of the forward and the backward function, which may be the same."""
    return (name, name) if signatures[name].outs == ("loss",) else (f"{name}_forward", f"{name}_backward")


def all_names(signatures: Signatures = SIGNATURES) -> tuple[str, ...]:
    """Return the names of all functions that can be checked."""
    return tuple(dict.fromkeys(function for name in signatures for function in function_names(name, signatures)))


def check_functions(
    functions: Functions, reference: Functions, signatures: Signatures = SIGNATURES
) -> Iterator[FunctionResult]:
    """Compare values of functions with those of `reference`, and gradients with numeric ones.

    A backward function is checked with the forward function of the same file, because it reads its cache. Numeric
    gradients are those of the reference, so that they depend on nothing that is checked; if the forward function is
    wrong, they are those of this function.
    """
    causes: dict[str, str] = {}
    for name in signatures:
        forward, backward = function_names(name, signatures)
        if forward not in functions and backward not in functions:
            continue
        calls = [*calls_of(name, signatures, functions, reference)]
        result = FunctionResult(forward, "missing", np.inf)
        if forward in functions:
            result = _result(forward, [_check_values], calls)
            if not result.problem:
                calls = [_with_reference(call) for call in calls]
                if forward == backward:
                    result = _result(forward, [_check_gradients], calls, result.error)
            yield _with_cause(result, name, signatures, causes)
        if backward not in functions or forward == backward:
            continue
        if not np.isfinite(result.error):
            yield FunctionResult(backward, f"not checked: it needs {forward} in the same file, without errors", np.inf)
            continue
        own = _with_cause(_result(backward, [_check_gradients], calls), name, signatures, causes)
        if result.problem and not own.problem:  # the gradients of a constant are 0
            own = own._replace(problem="is correct for its forward function, which is wrong")
        yield own


def _with_cause(result: FunctionResult, name: str, signatures: Signatures, causes: dict[str, str]) -> FunctionResult:
    """Replace the differences of a function by the inner function that may cause them, and add it to `causes`.

    A function that is correct with a wrong inner one does not use it, and passes.
    """
    if result.problem:
        kind = result.name.removeprefix(name)
        inner = [causes[f"{use}{kind}"] for use in signatures[name].uses if f"{use}{kind}" in causes]
        causes[result.name] = next(iter(inner), result.name)
        if inner and np.isfinite(result.error):
            return result._replace(problem=f"first correct {inner[0]}")
    return result


def checked_name(name: str, names: Iterable[str]) -> str:
    """Return a name if it is one of `names`. Raises: UsageError that names a similar one."""
    if name in (names := [*names]):
        return name
    others = similar(name, names)
    hint = f"did you mean {others[0]}?" if others else f"expected one of {', '.join(names)}"
    raise UsageError(f"{name}: unknown function; {hint}")


def calls_of(name: str, signatures: Signatures, functions: Functions, reference: Functions) -> Iterator[Call]:
    """Yield a call of functions for their signature, for each of its variants, and for one row."""
    own = signatures[name]
    for note, fields in {"": {}, **own.variants, " [one row]": {"sizes": {**own.sizes, **ONE}}}.items():
        signature = own._replace(**fields)
        names = function_names(name, signatures)
        fixed = signature.fixed(np.random.default_rng(0), {**LETTERS, **signature.sizes})
        layers = partial(_layer, names, signature, functions), partial(_layer, names, signature, reference)
        known = layers[1](fixed)
        inputs = layer_case(name, known, SIZES, np.random.default_rng(0)).arrays
        outs = dict(zip(signature.outs, known.forward(*inputs.values())[0], strict=True))
        layer = layers[0](fixed, {k: a.shape for k, a in outs.items()})
        yield Call(note, layer, inputs, outs, known, Wrong(layers, fixed, inputs, outs, (), {}, {}))


def _with_reference(call: Call) -> Call:
    """Return a call whose forward function returns the values of captioner's, and its inputs as the cache."""

    def forward(*arrays: Array) -> tuple[tuple[Array, ...], Any]:
        return call.known.forward(*arrays)[0], arrays

    def backward(*douts_and_inputs: Any) -> tuple[Array, ...]:
        *douts, arrays = douts_and_inputs
        grads: tuple[Array, ...] = call.layer.backward(*douts, call.layer.forward(*arrays)[1])
        return grads

    return call._replace(layer=call.layer._replace(forward=forward, backward=backward))


def _result(
    function: str, checks: Iterable[Callable[[Call], tuple[str, float]]], calls: Iterable[Call], largest: float = 0.0
) -> FunctionResult:
    """Return the first problem of a function, or its largest error in all checks, at least `largest`."""
    for check, call in itertools.product(checks, calls):
        try:
            problem, error = check(call)
        except WrongFunctionError as wrong:
            problem, error = str(wrong), np.inf
        if problem:
            text = hint(problem, bool(np.isfinite(error)), call.numbers, check is _check_gradients)
            return FunctionResult(function, "; ".join(filter(None, (text, problem + call.note))), error)
        largest = max(largest, error)
    return FunctionResult(function, "", largest)


def _check_values(call: Call) -> tuple[str, float]:
    """Compare the outputs of a forward function with captioner's."""
    outs, _ = call.layer.forward(*call.inputs.values())
    errors = {k: relative_error(a, b, SMALLEST) for a, (k, b) in zip(outs, call.outs.items(), strict=True)}
    wrong = ", ".join(f"{k} {call.outs[k].shape} {error:.1e}" for k, error in errors.items() if error > PRECISION)
    return f"differs from captioner's {ABOVE.format(PRECISION)}: {wrong}" if wrong else "", max(errors.values())


def _check_gradients(call: Call) -> tuple[str, float]:
    """Compare the gradients of a backward function with numeric ones of the forward function."""
    case = layer_case("", call.layer, SIZES, np.random.default_rng(0))
    rows = list(check_gradients(case, np.random.default_rng(1), smallest=SMALLEST))
    failed = [(row.array, case.arrays[row.array].shape, row) for row in rows if not row.passed]
    wrong = ", ".join(f"d{array} {shape} {row.error:.1e}{row.by_part()}" for array, shape, row in failed)
    problem = f"differs from numeric gradients {ABOVE.format(TOLERANCE)}: {wrong}" if wrong else ""
    return problem, max(row.error for row in rows)


def _layer(
    function_pair: tuple[str, str],
    signature: Signature,
    functions: Functions,
    fixed: dict[str, Any],
    shapes: Shapes | None = None,
) -> Layer:
    """Wrap the functions of a file as a layer, whose functions raise WrongFunctionError.

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
        arguments = fixed | arguments if "x" in fixed else arguments | fixed
        results = *signature.outs, names[0] if is_one else "cache"
        *values, cache = _call(functions, forward_name, [*arguments.values()], [*arguments], results)
        outs = _arrays(dict(zip(signature.outs, values, strict=True)), shapes)
        if is_one:
            return outs, _arrays({names[0]: cache}, expected)[0]
        return outs, (cache, [f"cache ({k} of {forward_name})" for k in (*arguments, *signature.outs)], expected)

    def backward(*douts_and_cache: Any) -> tuple[Array, ...]:
        *douts, forward_cache = douts_and_cache
        if is_one:
            return (douts[0] * forward_cache,)
        cache, shared, expected = forward_cache
        results = names if count == len(names) else (*names[:count], "grads")
        grads = _call(functions, backward_name, [*douts, cache], [*(f"d{k}" for k in signature.outs), *shared], results)
        if count < len(names):
            weights = grads.pop()
            if not isinstance(weights, dict):
                raise WrongFunctionError(f"grads: expected a dict, got {_type_name(weights)}")
            if missing := [k[1:] for k in names[count:] if k[1:] not in weights]:
                raise WrongFunctionError(f"grads: expected the keys of params, {', '.join(missing)} missing")
            grads += [weights[k[1:]] for k in names[count:]]
        return _arrays(dict(zip(names, grads, strict=True)), expected)

    return Layer(signature.shapes, forward, backward, signature.cell, {**LETTERS, **signature.sizes})


def _call(
    functions: Functions, name: str, arguments: list[Any], watched: list[str], names: tuple[str, ...]
) -> list[Any]:
    """Call a function of the file, and return one value per name; `watched` names the values that it must not change.

    Raises: WrongFunctionError if it raises, modifies a value, or returns None or another number of values.
    """
    function = functions[name]
    call = function.call if isinstance(function, RemoteFunction) else partial(run, functions, name)
    kind, returned = call(arguments, {}, watched)
    if kind == "raised":
        raise WrongFunctionError(printable(returned, 400) or "fails")  # an empty problem is none
    is_several = isinstance(returned, tuple | list)
    values = list(returned) if is_several else [returned]
    if not values or any(a is None for a, name in zip(values, names, strict=False) if name != "cache"):
        raise WrongFunctionError("returns None: not implemented")
    if len(values) != len(names):
        got = f"{len(values)} values" if is_several else f"a value of type {_type_name(returned)}"
        raise WrongFunctionError(f"expected it to return {', '.join(names)}, got {got}")
    return values


def _type_name(value: Any) -> str:
    return printable(type(value).__name__, 60)


def _arrays(values: Mapping[str, Any], shapes: Shapes | None) -> tuple[Array, ...]:
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
