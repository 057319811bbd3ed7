"""Check the functions of a file that have the names and signatures of CS231n, against those of captioner."""

from __future__ import annotations

import contextlib
import copy
import os
import runpy
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from traceback import format_exception_only, walk_tb
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import DataError, UsageError, printable
from captioner.files.user_files import read_bytes
from captioner.gradcheck.cases import (
    CAPTIONS,
    HEADS,
    LONG,
    MAX_FEATURE,
    MAX_VOCAB,
    MAX_WORDVEC,
    REGIONS,
    STEPS,
    Layer,
    fixed_ids,
    layer_case,
)
from captioner.gradcheck.numeric import TOLERANCE, check_gradients, relative_error
from captioner.layers.cell import Cell
from captioner.layers.lstm import LSTM
from captioner.layers.rnn import RNN
from captioner.model.parameters import Sizes

Functions: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[], tuple[str, float]]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
SMALLEST = 1e-2
"""Gradients below it are compared absolutely: that of the bias of keys is 0, except for rounding."""
ABOVE = "(relative error above {:.0e})"
PRECISION = 1e-9
"""The maximum relative error of values: float64 has about 1e-15, and a part that is computed in float32 1e-8."""
SIZES = Sizes(MAX_VOCAB, MAX_FEATURE, MAX_WORDVEC, hidden=3)
_RECURRENT = {"Wx": "DG", "Wh": "HG", "b": "G"}
_ATTENTION = {f"{kind}{name}": shape for name in "qkvo" for kind, shape in (("W", "EE"), ("b", "E"))}
_FEED_FORWARD = {"W1": "EJ", "b1": "J", "W2": "JE", "b2": "E"}
_NORMS = {f"{name}{i}": "E" for i in (1, 2, 3) for name in ("gamma", "beta")}


class Signature(NamedTuple):
    """The arguments and results of a pair X_forward and X_backward, or of one function that returns its gradient.

    A forward function has as arguments the arrays of `shapes` (letters as in `Layer`) and `fixed` values, first the ids
    of words, and returns `outs` and a cache. Only `positional` arrays are arguments; the others are entries of one
    dict. `variants` are fields of other calls, by their description, and `offset` is added to all arrays.
    """

    shapes: dict[str, str]
    outs: tuple[str, ...] = ("out",)
    cell: Cell = RNN
    fixed: Mapping[str, Any] = MappingProxyType({})
    positional: int | None = None
    variants: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    sizes: Mapping[str, int] = MappingProxyType({})
    offset: float = 0.0


_SEQUENCE = {"x": "NTD", "h0": "NH", **_RECURRENT}
_LOSS = {"y": fixed_ids((CAPTIONS, LONG), MAX_VOCAB), "mask": fixed_ids((CAPTIONS, LONG), 4) > 0}
_AXES = {" [x of three axes]": {"shapes": {"x": "NLH", "w": "FH", "b": "H"}}}
SIGNATURES: Mapping[str, Signature] = {
    "affine": Signature({"x": "ND", "w": "DH", "b": "H"}, variants=_AXES),
    "temporal_affine": Signature({"x": "NTD", "w": "DH", "b": "H"}),
    "word_embedding": Signature({"W": "VD"}, fixed={"x": fixed_ids((CAPTIONS, STEPS), MAX_VOCAB - 1)}),
    "temporal_softmax_loss": Signature(
        {"x": "NUV"},
        ("loss",),
        fixed=_LOSS,
        variants={
            " [scores near 1000]": {"offset": 1000.0},
            " [captions without words]": {"fixed": _LOSS | {"mask": _LOSS["mask"] & [[True], [False]] * 2}},
        },
    ),
    "layernorm": Signature(
        {"x": "NE", "gamma": "E", "beta": "E"},
        fixed={"ln_param": {}},
        variants={" [eps 0.1]": {"fixed": {"ln_param": {"eps": 0.1}}}},
    ),
    "rnn_step": Signature({"x": "ND", "prev_h": "NH", **_RECURRENT}, ("next_h",)),
    "lstm_step": Signature({"x": "ND", "prev_h": "NH", "prev_c": "NH", **_RECURRENT}, ("next_h", "next_c"), LSTM),
    "rnn": Signature(_SEQUENCE, ("h",)),
    "lstm": Signature(_SEQUENCE, ("h",), LSTM),
    "multi_head_attention": Signature(
        {"query": "NTE", "key": "NLE", "value": "NLE", **_ATTENTION},
        fixed={"num_heads": HEADS, "attn_mask": np.tril(np.ones((STEPS, REGIONS), bool))},
        positional=3,
        variants={" [3 heads, no mask]": {"fixed": {"num_heads": 3, "attn_mask": None}}},
    ),
    "decoder_layer": Signature(
        {
            "tgt": "NTE",
            "memory": "NLE",
            **{f"{prefix}{name}": s for prefix in ("self_", "cross_") for name, s in _ATTENTION.items()},
            **_FEED_FORWARD,
            **_NORMS,
        },
        fixed={"num_heads": HEADS, "tgt_mask": np.tril(np.ones((STEPS, STEPS), bool))},
        positional=2,
        variants={" [3 heads, no mask]": {"fixed": {"num_heads": 3, "tgt_mask": None}}},
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
    except (WrongFunctionError, KeyboardInterrupt):
        raise
    except BaseException as error:
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
    """Return what a function returned as one value per name. Raises: WrongFunctionError for another number, or None."""
    is_several = isinstance(returned, tuple | list)
    values = list(returned) if is_several else [returned]
    if not values or any(value is None for value in values):
        raise WrongFunctionError("returns None: not implemented")
    if len(values) != len(names):
        got = f"{len(values)} values" if is_several else f"a value of type {type(returned).__name__}"
        raise WrongFunctionError(f"expected it to return {', '.join(names)}, got {got}")
    return values


def _arrays(values: Mapping[str, Any], shapes: Shapes | None) -> tuple[Array, ...]:
    """Return results as arrays. Raises: WrongFunctionError for other types or shapes, or what is not finite."""
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
        arrays.append(array)
    return tuple(arrays)


def _layer(name: str, signature: Signature, functions: Functions, shapes: Shapes | None = None) -> Layer:
    """Wrap the functions of a file as a layer, whose functions raise WrongFunctionError.

    `shapes` are those of the outputs; without them, any shape is accepted.
    """
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
        fixed = copy.deepcopy(dict(signature.fixed))
        arguments = fixed | arguments if "x" in fixed else arguments | fixed
        returned = _call(functions[forward_name], arguments.values(), arguments)
        *values, cache = _unpacked(returned, (*signature.outs, cache_name))
        outs = _arrays(dict(zip(signature.outs, values, strict=True)), shapes)
        if parts := [k for k, array in inputs.items() if any(np.may_share_memory(out, array) for out in outs)]:
            raise WrongFunctionError(f"returns a part of its argument {parts[0]}: expected a new array")
        if forward_name == backward_name:
            return outs, _arrays({cache_name: cache}, expected)[0]
        shared = arguments | dict(zip(signature.outs, outs, strict=True))
        kept = {f"cache ({k} of {forward_name})": value for k, value in shared.items()}
        return outs, (cache, kept, expected)

    @_reported(paths[1])
    def backward(*douts_and_cache: Any) -> tuple[Array, ...]:
        *douts, forward_cache = douts_and_cache
        if backward_name == forward_name:
            return (douts[0] * forward_cache,)
        cache, kept, expected = forward_cache
        names = tuple(expected)
        upstream = {f"d{k}": np.array(d) for k, d in zip(signature.outs, douts, strict=True)}
        returned = _call(functions[backward_name], (*upstream.values(), cache), upstream | kept)
        if count == len(names):
            return _arrays(dict(zip(names, _unpacked(returned, names), strict=True)), expected)
        *grads, weights = _unpacked(returned, (*names[:count], "grads"))
        if not isinstance(weights, dict):
            raise WrongFunctionError(f"grads: expected a dict, got {type(weights).__name__}")
        if missing := [k[1:] for k in names[count:] if k[1:] not in weights]:
            raise WrongFunctionError(f"grads: expected the keys of params, {', '.join(missing)} missing")
        grads += [weights[k[1:]] for k in names[count:]]
        return _arrays(dict(zip(names, grads, strict=True)), expected)

    return Layer(signature.shapes, forward, backward, signature.cell, signature.sizes)


@contextlib.contextmanager
def loaded_functions(path: Path) -> Iterator[dict[str, Any]]:
    """Execute a Python file, and yield its functions of `NAMES`; a function of captioner that it imports is one too.

    Modules beside the file can be imported, as for `python FILE`, also when a function is called.

    Raises: UsageError if the file cannot be read, DataError if executing it fails, or if it has none of the functions.
    """
    read_bytes(path, 1 << 24, UsageError, "a Python file")
    file, search = os.path.abspath(path), sys.path
    sys.path = [os.path.dirname(file), *search]
    try:
        with _reported(file, DataError, f"{path}: "), warnings.catch_warnings():
            names = runpy.run_path(file, run_name=path.stem)
        functions = {name: names[name] for name in NAMES if callable(names.get(name))}
        if all(is_imported(function) for function in functions.values()):
            raise DataError(f"{path}: expected at least one of these functions, got none: {', '.join(NAMES)}")
        yield functions
    finally:
        sys.path = search


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
    last = {k: a[-1:, -1:] if isinstance(a, np.ndarray) else a for k, a in first.fixed.items()}
    one = {"sizes": dict.fromkeys("NTUL", 1), "fixed": last}
    for note, variant in {"": {}, **first.variants, " [one row]": one}.items():
        signature = first._replace(**variant)
        known = _layer(name, signature, reference)
        inputs, others = (layer_case(name, known, SIZES, np.random.default_rng(seed)).arrays for seed in (0, 1))
        shapes = {k: out.shape for k, out in zip(signature.outs, known.forward(*inputs.values())[0], strict=True)}
        arguments = (_layer(name, signature, functions, shapes), known, inputs, others)
        yield note, partial(_check_forward, *arguments, signature.outs), partial(_check_backward, *arguments)


def _result(function: str, checks: Iterable[tuple[str, Check]]) -> FunctionResult:
    """Return the first problem of a function, or its largest error in all checks."""
    largest = 0.0
    for note, check in checks:
        try:
            problem, error = check()
        except WrongFunctionError as wrong:
            problem, error = str(wrong), np.inf
        if problem:
            return FunctionResult(function, problem + note, error)
        largest = max(largest, error)
    return FunctionResult(function, "", largest)


def _check_forward(
    layer: Layer, known: Layer, inputs: Params, others: Params, names: tuple[str, ...]
) -> tuple[str, float]:
    """Compare the outputs of a forward function with captioner's."""

    def run(arrays: Params) -> tuple[Array, ...]:
        outs, cache = layer.forward(*arrays.values())
        return (*outs, cache) if isinstance(cache, np.ndarray) else outs

    run(others)  # a result that is kept for all calls differs from captioner's below
    return _compare(names, known.forward(*inputs.values())[0], partial(run, inputs), partial(run, others))


def _check_backward(layer: Layer, known: Layer, inputs: Params, others: Params) -> tuple[str, float]:
    """Compare the gradients of a backward function with numeric ones, and with captioner's if the outputs agree."""
    rng = np.random.default_rng(0)
    case = layer_case("", layer, SIZES, rng)
    rows = list(check_gradients(case, rng, smallest=SMALLEST))
    failed = [(row.array, case.arrays[row.array].shape, row) for row in rows if not row.passed]
    wrong = ", ".join(f"d{array} {shape} {row.error:.1e}{row.by_part()}" for array, shape, row in failed)
    if wrong:
        return f"differs from numeric gradients {ABOVE.format(TOLERANCE)}: {wrong}", max(row.error for row in rows)
    known_outs, known_cache = known.forward(*inputs.values())
    # one per backward pass, which may change its cache; the call between them replaces a global one
    calls = [layer.forward(*arrays.values()) for arrays in (inputs, others, inputs)][::2]
    douts = [rng.standard_normal(out.shape) for out in known_outs]
    agrees = all(relative_error(a, b, SMALLEST) <= PRECISION for a, b in zip(calls[0][0], known_outs, strict=True))
    problem, _ = _compare(
        [f"d{k}" for k in inputs],
        known.backward(*douts, known_cache) if agrees else (),
        lambda: layer.backward(*douts, calls.pop()[1]),
        lambda: layer.backward(*(2 * d for d in douts), layer.forward(*others.values())[1]),
    )
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
    if any(relative_error(a, b, SMALLEST) > PRECISION for a, b in zip(run(), results, strict=True)):
        raise WrongFunctionError("depends on other calls: the same arguments have another result after them")
    errors = {k: (b.shape, relative_error(a, b, SMALLEST)) for k, a, b in zip(names, results, known, strict=False)}
    wrong = ", ".join(f"{k} {shape} {error:.1e}" for k, (shape, error) in errors.items() if error > PRECISION)
    largest = max((error for _, error in errors.values()), default=0.0)
    return f"differs from captioner's {ABOVE.format(PRECISION)}: {wrong}" if wrong else "", largest
