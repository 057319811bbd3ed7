"""`captioner gradcheck`: proves every layer and the model, and a fault planted anywhere comes out by name."""

import dataclasses
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from captioner.cli import main
from captioner.config.options import Config, Data, Model
from captioner.gradcheck.check import gradcheck
from captioner.gradcheck.layer_cases import LAYERS, layer_case
from captioner.gradcheck.model_cases import VARIANTS
from captioner.gradcheck.numeric import Row, check
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.dropout import NO_DROPOUT, Dropout
from captioner.model.parameters import Sizes

Array = np.ndarray
SIZES = Sizes(vocab=7, feature=4, wordvec=3, hidden=4)
PARAMS = tuple(dataclasses.replace(SIZES, image="every").shapes())


def one_element(grad: Array) -> Array:
    wrong = grad.copy()
    wrong.flat[wrong.size // 2] += 0.01 * np.abs(grad).max()
    return wrong


def nan(grad: Array) -> Array:
    wrong = grad.copy()
    wrong.flat[-1] = np.nan
    return wrong


FAULTS: dict[str, Callable[[Array], Array]] = {
    "one_element": one_element,
    "scaled": lambda grad: grad * 1.01,
    "zeros": np.zeros_like,
    "shape": lambda grad: grad[..., None],
    "nan": nan,
}
every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
GRADIENTS = [(name, array) for name, layer in LAYERS.items() for array in layer.shapes]


def cases(cell: str) -> list[tuple[str, str]]:
    """Every gradient of every model, as configured and in its variants."""
    of_variant = {"model": {}, **{name: variant.sizes for name, variant in VARIANTS.items()}}
    base = Sizes(vocab=7, feature=4, wordvec=3, hidden=3, cell=cell)
    shapes = {name: dataclasses.replace(base, **sizes).shapes() for name, sizes in of_variant.items()}
    return [(f"{name} ({cell})", array) for name, arrays in shapes.items() for array in arrays]


def config(**model: Any) -> Config:
    return dataclasses.replace(Config(), model=Model(**model))


def plant(monkeypatch: pytest.MonkeyPatch, name: str, array: str, fault: Callable[[Array], Array]) -> None:
    """Let the backward of a layer return one wrong gradient."""
    layer = LAYERS[name]
    place = list(layer.shapes).index(array)

    def backward(*args: Any) -> Any:
        grads = layer.backward(*args)
        if not isinstance(grads, tuple):
            return fault(grads)
        return tuple(fault(grad) if k == place else grad for k, grad in enumerate(grads))

    monkeypatch.setitem(LAYERS, name, layer._replace(backward=backward))


def plant_in_model(monkeypatch: pytest.MonkeyPatch, array: str, fault: Callable[[Array], Array]) -> None:
    loss = CaptioningRNN.loss

    def faulty(self: CaptioningRNN, *args: Any, **options: Any) -> tuple[float, dict[str, Array]]:
        value, grads = loss(self, *args, **options)
        return value, {name: fault(grad) if name == array else grad for name, grad in grads.items()}

    monkeypatch.setattr(CaptioningRNN, "loss", faulty)


def failed(rows: Iterable[Row]) -> list[tuple[str, str]]:
    return [(row.case, row.array) for row in rows if not row.passed]


def test_the_table_holds_what_there_is_to_check() -> None:
    assert list(LAYERS) == [
        "affine",
        "temporal_affine",
        "word_embedding",
        "temporal_softmax_loss",
        "dropout",
        "rnn_step",
        "lstm_step",
        "rnn",
        "lstm",
        "rnn_scan",
        "lstm_scan",
        "rnn_scan_context",
        "lstm_scan_context",
    ]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_returns_as_many_gradients_as_it_has_inputs(name: str) -> None:
    case = layer_case(name, LAYERS[name], SIZES, np.random.default_rng(0))
    outs, cache = LAYERS[name].forward(*case.arrays.values())
    grads = LAYERS[name].backward(*(outs if isinstance(outs, tuple) else (outs,)), cache)
    assert len(grads if isinstance(grads, tuple) else (grads,)) == len(LAYERS[name].shapes)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout_features": 0.5, "dropout_embedding": 0.5, "dropout_hidden": 0.5},
        {"wordvec_dim": 2, "hidden_dim": 1},
    ],
    ids=["plain", "dropout", "tiny"],
)
def test_everything_passes(cell: str, options: dict[str, Any], full: bool) -> None:
    rows = list(gradcheck(config(cell=cell, **options), full))
    assert failed(rows) == []
    assert [(row.case, row.array) for row in rows] == [
        *GRADIENTS,
        *cases(cell),
    ]
    assert {row.check for row in rows} == ({"elements"} if full else {"direction"})


@pytest.mark.parametrize("standardize", [False, True])
def test_the_model_is_checked_as_it_is_configured(standardize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    loss = CaptioningRNN.loss
    monkeypatch.setattr(CaptioningRNN, "loss", lambda self, *a, **k: models.append(self) or loss(self, *a, **k))
    chosen = dataclasses.replace(config(dropout_embedding=0.4), data=Data(standardize=standardize))
    assert failed(gradcheck(chosen)) == []
    assert {m.dropout for m in models} == {Dropout(words=0.4), Dropout(0.2, 0.3, 0.4), NO_DROPOUT}
    assert {m.smoothing for m in models} == {0.0, 0.1}
    assert {m.sizes.image for m in models} == {"init", "first", "every"}
    assert {m.standardizer is not None for m in models} == {standardize}


@every_fault
@pytest.mark.parametrize(("name", "array"), GRADIENTS)
def test_a_fault_in_a_layer_is_seen(
    name: str, array: str, fault: Callable[[Array], Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, name, array, fault)
    rng = np.random.default_rng(0)
    assert failed(check(layer_case(name, LAYERS[name], SIZES, rng), rng)) == [(name, array)]


@every_fault
@pytest.mark.parametrize("array", PARAMS)
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_fault_in_the_model_is_seen(
    cell: str, array: str, fault: Callable[[Array], Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_in_model(monkeypatch, array, fault)
    assert failed(gradcheck(config(cell=cell))) == [case for case in cases(cell) if case[1] == array]


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, list[str]]:
    """The exit code of `captioner gradcheck`, and its lines on stdout."""
    with pytest.raises(SystemExit) as done:
        main(["gradcheck", *args])
    out, err = capsys.readouterr()
    assert err == ""
    return int(done.value.code or 0), out.splitlines()


@pytest.mark.parametrize(("name", "array"), GRADIENTS)
def test_the_command_fails_with_the_name_of_the_gradient(
    name: str, array: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(monkeypatch, name, array, np.zeros_like)
    code, lines = run(capsys)
    assert code == 1
    assert [line.split()[:2] for line in lines if line.endswith("FAIL")] == [[name, array]]
    assert lines[-1].startswith("FAIL: 1 of ")
    assert lines[-1].endswith(f": {name} {array}")


@pytest.mark.parametrize("array", PARAMS)
def test_the_command_fails_with_the_name_of_the_parameter(
    array: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plant_in_model(monkeypatch, array, lambda grad: grad * 1.01)
    code, lines = run(capsys)
    assert code == 1
    wrong = [f"{model} {name}" for model, name in cases("lstm") if name == array]
    assert [" ".join(line.split()[:-3]) for line in lines if line.endswith("FAIL")] == wrong
    assert lines[-1].endswith(f": {', '.join(wrong)}")


@pytest.mark.parametrize("args", [(), ("-o", "model.cell=rnn"), ("--full",)])
def test_the_command_passes(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = run(capsys, *args)
    assert code == 0
    assert lines[-1].startswith(f"PASS: {len(GRADIENTS) + len(cases('lstm'))} gradients")
    assert not any("FAIL" in line for line in lines)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize(("inner", "suffix"), [("sequence_backward", ""), ("step_backward", "_step")])
def test_a_fault_in_the_public_functions_is_seen(
    cell: str, inner: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the table but in the code behind it: all gradients zero, of the right shapes."""
    module = import_module(f"captioner.layers.{cell}")
    right = getattr(module, inner)

    def zeros(*args: Any) -> Any:
        dx, dstate, *dweights = right(*args)
        return 0 * dx, tuple(0 * d for d in dstate), *(0 * d for d in dweights)

    monkeypatch.setattr(module, inner, zeros)
    name = f"{cell}{suffix}"
    assert failed(gradcheck(config())) == [(name, array) for array in LAYERS[name].shapes]
