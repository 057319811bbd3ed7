"""Check the functions of a file that have the names and signatures of CS231n, against those of captioner."""

from __future__ import annotations

import contextlib
import copy
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from traceback import format_exception_only, walk_tb
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.random  # else read lazily, where a file may have changed sys.path

from captioner.arrays import Array, Params
from captioner.errors import DataError, UsageError, printable
from captioner.files.user_files import read_bytes
from captioner.gradcheck.cases import Layer, layer_case
from captioner.gradcheck.numeric import TOLERANCE, check_gradients, relative_error
from captioner.layers.cell import Cell
from captioner.layers.lstm import LSTM
from captioner.layers.rnn import RNN
from captioner.model.parameters import Sizes

Functions: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[], tuple[str, float]]
Call: TypeAlias = tuple[Layer, Params]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
SMALLEST = 1e-2
"""Gradients below it are compared absolutely: that of the bias of keys is 0, except for rounding."""
ABOVE = "(relative error above {:.0e})"
PRECISION = 1e-9
"""The maximum relative error of values: float64 has about 1e-15, and a part that is computed in float32 1e-8."""
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

    A forward function has as arguments the arrays of `shapes` (letters as in `Layer`) and `fixed` values, first the ids
    of words, and returns `outs` and a cache. Only `positional` arrays are arguments; the others are entries of one
    dict. `variants` are fields of other calls, by their description, `sizes` replace `LETTERS`, `offset` is added to x.
    """

    shapes: dict[str, str]
    outs: tuple[str, ...] = ("out",)
    cell: Cell = RNN
    fixed: Callable[[np.random.Generator, Mapping[str, int]], dict[str, Any]] = lambda rng, n: {}
    positional: int | None = None
    variants: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    sizes: Mapping[str, int] = MappingProxyType({})
    offset: float | Array = 0.0


def _mask(rng: np.random.Generator, *shape: int) -> Array:
    """Return a random mask with at least one True in each row."""
    values = rng.random(shape)
    return np.asarray(values <= values.mean(axis=1, keepdims=True))


def _words(rng: np.random.Generator, n: Mapping[str, int]) -> dict[str, Any]:
    """Return ids and a mask; the second caption has no words."""
    mask = _mask(rng, n["N"], n["U"]) & (np.arange(n["N"]) != 1)[:, None]
    return {"y": rng.integers(n["V"], size=mask.shape), "mask": mask}


_AXES = {" [x of four axes]": {"shapes": {"x": "NTLE", "w": "FH", "b": "H"}, "sizes": OTHERS}}
_SCORES = {" [scores near 1000]": {"offset": 1000 * np.eye(3)[..., None], "sizes": {"N": 3, "U": 3, "V": 8}}}
_EPS = {" [eps 0.1]": {"fixed": lambda rng, n: {"ln_param": {"eps": 0.1}}, "sizes": OTHERS}}
_NO_MASK = {" [2 heads, no mask]": {"fixed": lambda rng, n: {"num_heads": 2}, "sizes": OTHERS}}
_SEQUENCE = {"x": "NTD", "h0": "NH", **_RECURRENT}
SIGNATURES: Mapping[str, Signature] = {
    "affine": Signature({"x": "ND", "w": "DH", "b": "H"}, variants=_AXES),
    "temporal_affine": Signature({"x": "NTD", "w": "DH", "b": "H"}),
    "word_embedding": Signature({"W": "VD"}, fixed=lambda rng, n: {"x": rng.integers(n["V"], size=(n["N"], n["T"]))}),
    "temporal_softmax_loss": Signature({"x": "NUV"}, ("loss",), fixed=_words, variants=_SCORES),
    "layernorm": Signature({"x": "NE", "gamma": "E", "beta": "E"}, fixed=lambda *_: {"ln_param": {}}, variants=_EPS),
    "rnn_step": Signature({"x": "ND", "prev_h": "NH", **_RECURRENT}, ("next_h",)),
    "lstm_step": Signature({"x": "ND", "prev_h": "NH", "prev_c": "NH", **_RECURRENT}, ("next_h", "next_c"), LSTM),
    "rnn": Signature(_SEQUENCE, ("h",)),
    "lstm": Signature(_SEQUENCE, ("h",), LSTM),
    "dot_product_attention": Signature({"prev_h": "NH", "A": "NHLL"}, ("attn", "attn_weights")),
    "attention": Signature({"x": "NTD", "A": "NHLL", "Wx": "DG", "Wh": "HG", "Wattn": "HG", "b": "G"}, ("h",), LSTM),
    "multi_head_attention": Signature(
        {"query": "NTE", "key": "NLE", "value": "NLE", **_ATTENTION},
        fixed=lambda rng, n: {"num_heads": 3, "attn_mask": _mask(rng, n["T"], n["L"])},
        positional=3,
        variants=_NO_MASK,
    ),
    "decoder_layer": Signature(
        {"tgt": "NTE", "memory": "NLE", **_ATTENTIONS, "W1": "EJ", "b1": "J", "W2": "JE", "b2": "E", **_NORMS},
        fixed=lambda rng, n: {"num_heads": 3, "tgt_mask": _mask(rng, n["T"], n["T"])},
        positional=2,
        variants=_NO_MASK,
    ),
}
"""The functions that can be checked, inner ones first."""


class FunctionResult(NamedTuple):
    """What is wrong with a function, or "" if it passes, and its relative error: infinity if it returns no numbers."""

    name: str
    problem: str
    error: float


class WrongFunctionError(Exception):
    """What is wrong with a function that is checked."""


def function_names(name: str) -> tuple[str, str]:
    """Return the names of the forward and the backward function, which may be the same."""
    return (name, name) if SIGNATURES[name].outs == ("loss",) else (f"{name}_forward", f"{name}_backward")


NAMES = tuple(dict.fromkeys(function for name in SIGNATURES for function in function_names(name)))
"""The names of all functions that can be checked."""


@contextlib.contextmanager
def _reported(path: str, kind: type[Exception] = WrongFunctionError, start: str = "") -> Iterator[None]:
    """Convert what the code of a file raises to its type, message and line; Ctrl-C is not converted."""
    try:
        with np.errstate():
            yield
    except BaseException as error:
        if type(error) in (WrongFunctionError, KeyboardInterrupt):
            raise
        start = f"{error.filename}:{error.lineno}: " if isinstance(error, SyntaxError) and error.filename else start
        lines = [f" (line {line})" for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
        # unlike str(), it cannot raise; indented lines are those of a syntax error
        message = next(line for line in format_exception_only(error) if line[0] != " ")
        problem = f"raised {printable(message.strip(), 300)}{lines[-1] if lines else ''}"
        raise kind(start + ("not implemented" if isinstance(error, NotImplementedError) else problem)) from error


def _snapshot(value: Any) -> Any:
    """Return what differs after a change of an array, or of a dict of arrays."""
    if isinstance(value, dict):
        return [(key, id(part), _snapshot(part)) for key, part in value.items()]
    return (value.shape, value.dtype, value.tobytes()) if isinstance(value, np.ndarray) else None


def _call(function: Callable[..., Any], arguments: Iterable[Any], watched: Mapping[str, Any]) -> Any:
    """Call a function of the file. Raises: WrongFunctionError if it modifies a `watched` value, by name."""
    before = {name: _snapshot(value) for name, value in watched.items()}
    returned = function(*arguments)
    if changed := [name for name, value in watched.items() if _snapshot(value) != before[name]]:
        raise WrongFunctionError(f"modifies its argument {changed[0]}")
    return returned


def _unpacked(returned: Any, names: tuple[str, ...]) -> list[Any]:
    """Return one value per name. Raises: WrongFunctionError for another number, or None, except for a cache."""
    is_several = isinstance(returned, tuple | list)
    values = list(returned) if is_several else [returned]
    if not values or any(a is None for a, name in zip(values, names, strict=False) if name != "cache"):
        raise WrongFunctionError("returns None: not implemented")
    if len(values) != len(names):
        got = f"{len(values)} values" if is_several else f"a value of type {type(returned).__name__}"
        raise WrongFunctionError(f"expected it to return {', '.join(names)}, got {got}")
    return values


def _arrays(values: Mapping[str, Any], shapes: Shapes | None, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
    """Return results as arrays. Raises: WrongFunctionError for another type or shape, NaN, or a part of an input."""
    arrays = []
    for name, value in values.items():
        is_number = isinstance(value, int | float | complex | np.generic) and not (shapes and shapes[name])
        array = np.asarray(value) if is_number else value
        if type(array) is not np.ndarray:
            raise WrongFunctionError(f"{name}: expected an array, got {type(value).__name__}")
        if shapes is not None and array.shape != shapes[name]:
            raise WrongFunctionError(f"{name}: expected the shape {shapes[name]}, got {array.shape}")
        if array.dtype != np.float64:
            raise WrongFunctionError(f"{name}: expected float64, as its inputs, got {array.dtype}")
        if not np.isfinite(array).all():
            raise WrongFunctionError(f"{name}: expected finite numbers, got NaN or infinity")
        if parts := [k for k, argument in inputs.items() if np.may_share_memory(array, argument)]:
            raise WrongFunctionError(f"returns a part of its argument {parts[0]}: expected a new array")
        arrays.append(array)
    return tuple(arrays)


def _layer(name: str, signature: Signature, functions: Functions, seed: int = 0, shapes: Shapes | None = None) -> Layer:
    """Wrap the functions of a file as a layer, whose functions raise WrongFunctionError.

    `seed` selects the fixed values. `shapes` are those of the outputs; without them, any shape is accepted.
    """
    sizes = {**LETTERS, **signature.sizes}
    constants = signature.fixed(np.random.default_rng(seed), sizes)
    count = signature.positional or len(signature.shapes)
    forward_name, backward_name = function_names(name)
    cache_name = f"d{next(iter(signature.shapes))}" if forward_name == backward_name else "cache"
    paths = [getattr(getattr(functions.get(f), "__code__", None), "co_filename", "") for f in function_names(name)]

    @_reported(paths[0])
    def forward(*arrays: Array) -> tuple[tuple[Array, ...], Any]:
        inputs = {k: array + signature.offset for k, array in zip(signature.shapes, arrays, strict=True)}
        expected = {f"d{k}": array.shape for k, array in inputs.items()}
        weights = dict([*inputs.items()][count:])
        arguments = dict([*inputs.items()][:count]) | ({"params": weights} if weights else {})
        fixed = copy.deepcopy(constants)
        arguments = fixed | arguments if "x" in fixed else arguments | fixed
        returned = _call(functions[forward_name], arguments.values(), arguments)
        *values, cache = _unpacked(returned, (*signature.outs, cache_name))
        outs = _arrays(dict(zip(signature.outs, values, strict=True)), shapes, inputs)
        if forward_name == backward_name:
            return outs, _arrays({cache_name: cache}, expected, inputs)[0]
        shared = arguments | dict(zip(signature.outs, outs, strict=True))
        kept = {f"cache ({k} of {forward_name})": value for k, value in shared.items()}
        return outs, (cache, kept, expected)

    @_reported(paths[1])
    def backward(*douts_and_cache: Any) -> tuple[Array, ...]:
        *douts, forward_cache = douts_and_cache
        if backward_name == forward_name:
            return (douts[0] * forward_cache,)
        cache, kept, expected = forward_cache
        if cache is None:
            raise WrongFunctionError(f"needs a cache: {forward_name} returns None for it")
        names = tuple(expected)
        upstream = {f"d{k}": np.array(d) for k, d in zip(signature.outs, douts, strict=True)}
        returned = _call(functions[backward_name], (*upstream.values(), cache), upstream | kept)
        grads = _unpacked(returned, names if count == len(names) else (*names[:count], "grads"))
        if count < len(names):
            weights = grads.pop()
            if not isinstance(weights, dict):
                raise WrongFunctionError(f"grads: expected a dict, got {type(weights).__name__}")
            if missing := [k[1:] for k in names[count:] if k[1:] not in weights]:
                raise WrongFunctionError(f"grads: expected the keys of params, {', '.join(missing)} missing")
            grads += [weights[k[1:]] for k in names[count:]]
        return _arrays(dict(zip(names, grads, strict=True)), expected, upstream)

    return Layer(signature.shapes, forward, backward, signature.cell, sizes)


@contextlib.contextmanager
def loaded_functions(path: Path) -> Iterator[dict[str, Any]]:
    """Execute a Python file, and yield its functions of `NAMES`; a function of captioner that it imports is one too.

    Modules beside the file can be imported, as for `python FILE`, also when a function is called.

    Raises: UsageError if the file cannot be read, DataError if executing it fails, or if it has none of the functions.
    """
    text = read_bytes(path, 1 << 24, UsageError, "a Python file")
    file, search, module = os.path.abspath(path), sys.path, ModuleType(path.stem)
    module.__file__ = file
    sys.path = [os.path.dirname(file), *search]
    # pickle finds classes in it; a module of the same name that is in use is not replaced
    is_new = sys.modules.setdefault(path.stem, module) is module
    try:
        with _reported(file, DataError, f"{path}: "), warnings.catch_warnings():
            exec(compile(text, file, "exec", dont_inherit=True), vars(module))
        functions = {name: vars(module)[name] for name in NAMES if callable(vars(module).get(name))}
        if all(is_imported(function) for function in functions.values()):
            raise DataError(f"{path}: expected at least one of these functions, got none: {', '.join(NAMES)}")
        yield functions
    finally:
        sys.path = search
        if is_new:
            sys.modules.pop(path.stem, None)


def is_imported(function: Any) -> bool:
    """Return whether a function is one of captioner, which a file has only imported."""
    return str(getattr(function, "__module__", "")).startswith("captioner.")


def check_functions(functions: Functions, reference: Functions) -> Iterator[FunctionResult]:
    """Compare values and gradients of functions with those of `reference`, and gradients with numeric ones.

    A backward function is checked with the forward function of the same file, because it reads its cache.
    """
    for name in SIGNATURES:
        forward, backward = function_names(name)
        if forward not in functions and backward not in functions:
            continue
        checks = [*_checks(name, functions, reference)]
        result = FunctionResult(forward, "missing", np.inf)
        if forward in functions:
            result = _result(forward, [(note, check) for note, check, _ in checks])
            if forward == backward and not result.problem:
                result = _result(backward, [(note, check) for note, _, check in checks])
            yield result
        if backward not in functions or forward == backward:
            continue
        if np.isfinite(result.error):
            yield _result(backward, [(note, check) for note, _, check in checks])
        else:
            yield FunctionResult(backward, f"not checked: it needs {forward} in the same file, without errors", np.inf)


def _checks(name: str, functions: Functions, reference: Functions) -> Iterator[tuple[str, Check, Check]]:
    """Yield a description, and the checks of both functions, for each variant of a signature and for one row."""
    first = SIGNATURES[name]
    previous: tuple[Call, ...] = ()  # another size, num_heads or eps
    for note, fields in {"": {}, **first.variants, " [one row]": {"sizes": ONE}}.items():
        signature = first._replace(**fields)
        known = [_layer(name, signature, reference, seed) for seed in (0, 1)]
        inputs = [layer_case(name, a, SIZES, np.random.default_rng(seed)).arrays for seed, a in enumerate(known)]
        shapes = {k: a.shape for k, a in zip(first.outs, known[0].forward(*inputs[0].values())[0], strict=True)}
        layers = [_layer(name, signature, functions, seed, shapes) for seed in (0, 1)]
        call, other = zip(layers, inputs, strict=True)
        arguments = known[0], call, (other, *previous)
        yield note, partial(_check_forward, *arguments, first.outs), partial(_check_backward, *arguments)
        previous = (call,)


def _result(function: str, checks: Iterable[tuple[str, Check]]) -> FunctionResult:
    """Return the first problem of a function, or its largest error in all checks."""
    largest = 0.0
    for note, check in checks:
        try:
            problem, error = check()
        except WrongFunctionError as wrong:
            problem, error = str(wrong) or "raised WrongFunctionError", np.inf
        if problem:
            return FunctionResult(function, problem + note, error)
        largest = max(largest, error)
    return FunctionResult(function, "", largest)


def _check_forward(known: Layer, call: Call, others: tuple[Call, ...], names: tuple[str, ...]) -> tuple[str, float]:
    """Compare the outputs of a forward function with captioner's."""

    def run(layer: Layer, arrays: Params) -> tuple[Array, ...]:
        outs, cache = layer.forward(*arrays.values())
        return (*outs, cache) if isinstance(cache, np.ndarray) else outs

    run(*others[0])  # a result that is kept for all calls differs from captioner's below
    known_outs = known.forward(*call[1].values())[0]
    return _compare(names, known_outs, lambda: run(*call), lambda: [run(*other) for other in others])


def _check_backward(known: Layer, call: Call, others: tuple[Call, ...]) -> tuple[str, float]:
    """Compare the gradients of a backward function with numeric ones, and with captioner's if the outputs agree."""
    layer, inputs = call
    case = layer_case("", layer, SIZES, np.random.default_rng(0))
    rows = list(check_gradients(case, np.random.default_rng(1), smallest=SMALLEST))
    failed = [(row.array, case.arrays[row.array].shape, row) for row in rows if not row.passed]
    wrong = ", ".join(f"d{array} {shape} {row.error:.1e}{row.by_part()}" for array, shape, row in failed)
    if wrong:
        return f"differs from numeric gradients {ABOVE.format(TOLERANCE)}: {wrong}", max(row.error for row in rows)

    def run(layer: Layer, outs: Iterable[Array], cache: Any) -> tuple[Array, ...]:
        rng = np.random.default_rng(2)
        return tuple(layer.backward(*(rng.standard_normal(out.shape) for out in outs), cache))

    def run_others() -> None:
        for other, arrays in others:
            run(other, *other.forward(*arrays.values()))

    run_others()  # their upstream gradients are the same
    # one per backward pass, which may change its cache; the calls between them replace what is global
    calls = [layer.forward(*arrays.values()) for layer, arrays in (call, *others, call)][:: len(others) + 1]
    outs, cache = known.forward(*inputs.values())
    agrees = all(relative_error(a, b, SMALLEST) <= PRECISION for a, b in zip(calls[0][0], outs, strict=True))
    known_grads = run(known, outs, cache) if agrees else ()
    problem, _ = _compare([f"d{k}" for k in inputs], known_grads, lambda: run(layer, *calls.pop()), run_others)
    return problem, max(row.error for row in rows)


def _compare(
    names: Iterable[str], known: Iterable[Array], run: Callable[[], tuple[Array, ...]], other: Callable[[], Any]
) -> tuple[str, float]:
    """Compare the results of a call with captioner's: return the problem or "", and the largest error.

    Raises: WrongFunctionError if another call changes the results, or those of the same call after it.
    """
    returned = run()
    results = [array.copy() for array in returned]
    other()
    if not all(map(np.array_equal, returned, results)):
        raise WrongFunctionError("a later call changes the array that it returned: expected a new array")
    again = run()
    if any(map(np.may_share_memory, returned, again)):
        raise WrongFunctionError("returns an array that an earlier call returned: expected a new array")
    if any(relative_error(a, b, SMALLEST) > PRECISION for a, b in zip(again, results, strict=True)):
        raise WrongFunctionError("depends on other calls: the same arguments have another result after them")
    errors = {k: (b.shape, relative_error(a, b, SMALLEST)) for k, a, b in zip(names, results, known, strict=False)}
    wrong = ", ".join(f"{k} {shape} {error:.1e}" for k, (shape, error) in errors.items() if error > PRECISION)
    largest = max((error for _, error in errors.values()), default=0.0)
    return f"differs from captioner's {ABOVE.format(PRECISION)}: {wrong}" if wrong else "", largest
