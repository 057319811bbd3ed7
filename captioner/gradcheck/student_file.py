"""Check the functions of a file that have the names and signatures of CS231n, against those of captioner."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from traceback import walk_tb
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from captioner.arrays import Array, Params
from captioner.errors import DataError, printable
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
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
SMALLEST = 1e-2
"""Gradients below it are compared absolutely: that of the bias of keys is 0, except for rounding."""
ABOVE = f"(relative error above {TOLERANCE:.0e})"
SIZES = Sizes(MAX_VOCAB, MAX_FEATURE, MAX_WORDVEC, hidden=3)
_RECURRENT = {"Wx": "DG", "Wh": "HG", "b": "G"}
_ATTENTION = {f"{kind}{name}": shape for name in "qkvo" for kind, shape in (("W", "EE"), ("b", "E"))}
_FEED_FORWARD = {"W1": "EJ", "b1": "J", "W2": "JE", "b2": "E"}
_NORMS = {f"{name}{i}": "E" for i in (1, 2, 3) for name in ("gamma", "beta")}


class Signature(NamedTuple):
    """The arguments and results of a pair X_forward and X_backward, or of one function that returns its gradient.

    A forward function has the arguments `before`, the arrays of `shapes` (letters as in `Layer`) and `after`, and
    returns `outs` and a cache. Only `positional` arrays are arguments; the others are entries of one dict.
    """

    shapes: dict[str, str]
    outs: tuple[str, ...] = ("out",)
    cell: Cell = RNN
    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()
    positional: int | None = None


_SEQUENCE = {"x": "NTD", "h0": "NH", **_RECURRENT}
SIGNATURES: Mapping[str, Signature] = {
    "affine": Signature({"x": "ND", "w": "DH", "b": "H"}),
    "temporal_affine": Signature({"x": "NTD", "w": "DH", "b": "H"}),
    "word_embedding": Signature({"W": "VD"}, before=(fixed_ids((CAPTIONS, STEPS), MAX_VOCAB - 1),)),
    "temporal_softmax_loss": Signature(
        {"x": "NUV"},
        ("loss",),
        after=(fixed_ids((CAPTIONS, LONG), MAX_VOCAB), fixed_ids((CAPTIONS, LONG), 4) > 0),
    ),
    "layernorm": Signature({"x": "NE", "gamma": "E", "beta": "E"}, after=({},)),
    "rnn_step": Signature({"x": "ND", "prev_h": "NH", **_RECURRENT}, ("next_h",)),
    "lstm_step": Signature({"x": "ND", "prev_h": "NH", "prev_c": "NH", **_RECURRENT}, ("next_h", "next_c"), LSTM),
    "rnn": Signature(_SEQUENCE, ("h",)),
    "lstm": Signature(_SEQUENCE, ("h",), LSTM),
    "multi_head_attention": Signature(
        {"query": "NTE", "key": "NLE", "value": "NLE", **_ATTENTION},
        after=(HEADS, np.tril(np.ones((STEPS, REGIONS), bool))),
        positional=3,
    ),
    "decoder_layer": Signature(
        {
            "tgt": "NTE",
            "memory": "NLE",
            **{f"{prefix}{name}": s for prefix in ("self_", "cross_") for name, s in _ATTENTION.items()},
            **_FEED_FORWARD,
            **_NORMS,
        },
        after=(HEADS, np.tril(np.ones((STEPS, STEPS), bool))),
        positional=2,
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


def _raised(error: BaseException, path: str) -> str:
    """Return the type, the message and the line of an exception in a file."""
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == path]
    message = printable(error, 300)
    return f"raised {type(error).__name__}{message and f': {message}'}{f' (line {lines[-1]})' if lines else ''}"


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], arrays: Mapping[str, Array]) -> Any:
    """Call a function of the file. Raises: WrongFunctionError if it raises, or modifies one of `arrays`."""
    before = {name: array.copy() for name, array in arrays.items()}
    try:
        returned = function(*arguments)
    except (Exception, SystemExit) as error:
        problem = "not written yet" if isinstance(error, NotImplementedError) else ""
        path = getattr(getattr(function, "__code__", None), "co_filename", "")
        raise WrongFunctionError(problem or _raised(error, path)) from error
    if modified := [name for name, array in arrays.items() if not np.array_equal(array, before[name])]:
        raise WrongFunctionError(f"modifies its argument {modified[0]}")
    return returned


def _unpacked(returned: Any, names: tuple[str, ...]) -> list[Any]:
    """Return what a function returned as one value per name. Raises: WrongFunctionError for another number, or None."""
    values = list(returned) if isinstance(returned, tuple | list) else [returned]
    if not values or any(value is None for value in values):
        raise WrongFunctionError("returns None: not written yet")
    if len(values) != len(names):
        got = (
            f"{len(values)} values"
            if isinstance(returned, tuple | list)
            else f"a value of type {type(returned).__name__}"
        )
        raise WrongFunctionError(f"expected it to return {', '.join(names)}, got {got}")
    return values


def _arrays(values: Mapping[str, Any], shapes: Shapes | None) -> tuple[Array, ...]:
    """Convert results to arrays. Raises: WrongFunctionError for other shapes, or what is not finite or no number."""
    arrays = []
    for name, value in values.items():
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError):
            raise WrongFunctionError(f"{name}: expected an array, got {type(value).__name__}") from None
        if shapes is not None and array.shape != shapes[name]:
            raise WrongFunctionError(f"{name}: expected the shape {shapes[name]}, got {array.shape}")
        if not np.isfinite(array).all():
            raise WrongFunctionError(f"{name}: expected finite numbers, got NaN or infinity")
        arrays.append(array)
    return tuple(arrays)


def _layer(name: str, functions: Functions, shapes: Shapes | None = None) -> Layer:
    """Wrap the functions of a file as a layer, whose functions raise WrongFunctionError.

    `shapes` are those of the outputs; without them, any shape is accepted.
    """
    signature = SIGNATURES[name]
    before, after, count = signature.before, signature.after, signature.positional or len(signature.shapes)
    forward_name, backward_name = function_names(name)
    cache_name = f"d{next(iter(signature.shapes))}" if forward_name == backward_name else "cache"
    inputs: Params = {}

    def forward(*arrays: Array) -> tuple[tuple[Array, ...], Any]:
        inputs.update(zip(signature.shapes, arrays, strict=True))
        copies = {k: array.copy() for k, array in inputs.items()}
        weights = dict([*copies.items()][count:])
        arguments = (*before, *[*copies.values()][:count], *([weights] if weights else ()), *after)
        returned = _call(functions[forward_name], arguments, copies)
        *outs, cache = _unpacked(returned, (*signature.outs, cache_name))
        return _arrays(dict(zip(signature.outs, outs, strict=True)), shapes), cache

    def backward(*douts_and_cache: Any) -> tuple[Array, ...]:
        *douts, cache = douts_and_cache
        names = tuple(f"d{k}" for k in signature.shapes)
        expected = {f"d{k}": array.shape for k, array in inputs.items()}
        if backward_name == forward_name:
            return (douts[0] * _arrays({names[0]: cache}, expected)[0],)
        copies = {f"d{k}": np.array(d) for k, d in zip(signature.outs, douts, strict=True)}
        returned = _call(functions[backward_name], (*copies.values(), cache), copies)
        if count == len(names):
            return _arrays(dict(zip(names, _unpacked(returned, names), strict=True)), expected)
        *grads, weights = _unpacked(returned, (*names[:count], "grads"))
        if not isinstance(weights, dict):
            raise WrongFunctionError(f"grads: expected a dict, got {type(weights).__name__}")
        if missing := [k[1:] for k in names[count:] if k[1:] not in weights]:
            raise WrongFunctionError(f"grads: expected the keys of params, {', '.join(missing)} missing")
        grads += [weights[k[1:]] for k in names[count:]]
        return _arrays(dict(zip(names, grads, strict=True)), expected)

    return Layer(signature.shapes, forward, backward, signature.cell)


def load_functions(path: Path) -> dict[str, Any]:
    """Execute a Python file, and return its functions of `NAMES`; a function of captioner that it imports is one too.

    Modules beside the file can be imported, as for `python FILE`.

    Raises: OSError if the file cannot be read, DataError if executing it fails, or if it has none of the functions.
    """
    path.read_bytes()
    sys.path.insert(0, os.path.abspath(path.parent))
    try:
        names = runpy.run_path(str(path), run_name=path.stem)
    except SyntaxError as error:
        line = "" if error.filename != str(path) else f":{error.lineno}"
        raise DataError(f"{path}{line}: {type(error).__name__}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise DataError(f"{path}: {_raised(error, str(path))}") from error
    finally:
        sys.path.remove(os.path.abspath(path.parent))
    functions = {name: names[name] for name in NAMES if callable(names.get(name))}
    if all(is_imported(function) for function in functions.values()):
        raise DataError(f"{path}: expected at least one of these functions, got none: {', '.join(NAMES)}")
    return functions


def is_imported(function: Any) -> bool:
    """Return whether a function is one of captioner, which a file has only imported."""
    return str(getattr(function, "__module__", "")).startswith("captioner.")


def check_functions(functions: Functions, reference: Functions) -> Iterator[FunctionResult]:
    """Compare the values of forward functions with those of `reference`, and gradients with numeric ones.

    A backward function is checked with the forward function of the same file, because it reads its cache.
    """
    for name in SIGNATURES:
        forward, backward = function_names(name)
        if forward not in functions and backward not in functions:
            continue
        known = _layer(name, reference)
        inputs = layer_case(name, known, SIZES, np.random.default_rng(0)).arrays
        outs = dict(zip(SIGNATURES[name].outs, known.forward(*inputs.values())[0], strict=True))
        layer = _layer(name, functions, {k: out.shape for k, out in outs.items()})
        result = FunctionResult(forward, "missing", np.inf)
        if forward in functions:
            result = _check_forward(forward, layer, inputs, outs)
            if forward == backward and not result.problem:
                result = _check_backward(backward, name, layer)
            yield result
        if backward not in functions or forward == backward:
            continue
        if np.isfinite(result.error):
            yield _check_backward(backward, name, layer)
        else:
            yield FunctionResult(backward, f"not checked: it needs {forward} in the same file, without errors", np.inf)


def _check_forward(function: str, layer: Layer, inputs: Params, outs: Params) -> FunctionResult:
    """Compare the outputs of a forward function with `outs`."""
    try:
        returned = layer.forward(*inputs.values())[0]
    except WrongFunctionError as error:
        return FunctionResult(function, str(error), np.inf)
    errors = {k: relative_error(a, outs[k]) for k, a in zip(outs, returned, strict=True)}
    wrong = [f"{k} {outs[k].shape} {error:.1e}" for k, error in errors.items() if error > TOLERANCE]
    problem = f"differs from captioner's {ABOVE}: {', '.join(wrong)}" if wrong else ""
    return FunctionResult(function, problem, max(errors.values()))


def _check_backward(function: str, name: str, layer: Layer) -> FunctionResult:
    """Compare the gradients of a backward function with numeric ones."""
    rng = np.random.default_rng(0)
    try:
        case = layer_case(name, layer, SIZES, rng)
        rows = list(check_gradients(case, rng, smallest=SMALLEST))
    except WrongFunctionError as error:
        return FunctionResult(function, str(error), np.inf)
    failed = [(row.array, case.arrays[row.array].shape, row) for row in rows if not row.passed]
    wrong = [f"d{array} {shape} {row.error:.1e}{row.by_part()}" for array, shape, row in failed]
    problem = f"differs from numeric gradients {ABOVE}: {', '.join(wrong)}" if wrong else ""
    return FunctionResult(function, problem, max(row.error for row in rows))
