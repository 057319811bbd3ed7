"""The gradient check passes for every layer and model, and detects and names a fault planted in any gradient."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import chain, product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from captioner.config.options import Config, Data, Model
from captioner.gradcheck.cases import (
    ATTENTION,
    LAYERS,
    MODELS,
    VARIANTS,
    Variant,
    gradient_cases,
    letters_of,
    model_case,
)
from captioner.gradcheck.layer_case import layer_case
from captioner.gradcheck.numeric import CheckResult, check_gradients
from captioner.layers import CELLS, feed_forward, layer_norm, multi_head_attention
from captioner.layers.dropout import Dropout
from captioner.model import captioning_transformer, losses, transformer
from captioner.model.build import DECODERS, parameter_shapes
from captioner.model.captioning_model import CaptioningModel
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.captioning_transformer import CaptioningTransformer
from captioner.model.parameters import Sizes
from captioner.parallel.thread_pool import ThreadPool

Array = np.ndarray
SIZES = Sizes(vocab=7, feature=4, wordvec=3, hidden=4)
SMALL = {"wordvec_dim": 3, "hidden_dim": 4}
DROPOUT = {"dropout_features": 0.5, "dropout_embedding": 0.5, "dropout_hidden": 0.5}
EVERY = "model, attention, image every"
TRANSFORMER = dataclasses.replace(
    SIZES, decoder="transformer", region=6, attention="adaptive", **MODELS[CaptioningTransformer][0]
)
PARAMS = tuple(parameter_shapes(dataclasses.replace(SIZES, **VARIANTS[EVERY].sizes)))


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
GRADIENTS = [(name, array) for name, layer in LAYERS.items() for array in layer.shapes]


def rotated(places: Sequence[Any]) -> list[Any]:
    """Every fault in every place: `make test` plants each fault in some places, and `make slow` in the others."""
    return [
        pytest.param(fault, place, id=f"{fault} {place}", marks=[] if k == i % 5 else pytest.mark.slow)
        for k, fault in enumerate(FAULTS)
        for i, place in enumerate(places)
    ]


def model_gradients(cell: str) -> list[tuple[str, str]]:
    """Every gradient of the configured model and of its variants."""
    small, table = MODELS[DECODERS[cell]]
    variants = {"model": {}, **{name: variant.sizes for name, variant in table.items()}}
    base = dataclasses.replace(Sizes(vocab=7, feature=4, wordvec=3, hidden=3, decoder=cell), **small)
    shapes = {name: parameter_shapes(dataclasses.replace(base, **sizes)) for name, sizes in variants.items()}
    return [(f"{name} ({cell})", array) for name, arrays in shapes.items() for array in arrays]


def config(**model: Any) -> Config:
    # No random direction of this seed is nearly orthogonal to a gradient.
    return dataclasses.replace(Config(), model=Model(**model), seed=2)


def plant(monkeypatch: pytest.MonkeyPatch, name: str, array: str, fault: Callable[[Array], Array]) -> None:
    """Make the backward function of a layer return one wrong gradient."""
    layer = LAYERS[name]
    index = list(layer.shapes).index(array)

    def backward(*args: Any) -> Any:
        grads = layer.backward(*args)
        if not isinstance(grads, tuple):
            return fault(grads)
        return tuple(fault(grad) if k == index else grad for k, grad in enumerate(grads))

    monkeypatch.setitem(LAYERS, name, layer._replace(backward=backward))


def plant_in_model(monkeypatch: pytest.MonkeyPatch, arrays: Collection[str], fault: Callable[[Array], Array]) -> None:
    loss = CaptioningModel.loss

    def faulty(self: CaptioningModel, *args: Any, **options: Any) -> tuple[float, dict[str, Array]]:
        value, grads = loss(self, *args, **options)
        return value, {name: fault(grad) if name in arrays else grad for name, grad in grads.items()}

    monkeypatch.setattr(CaptioningModel, "loss", faulty)


def check_config(config: Config, full: bool = False, names: Collection[str] = ()) -> Iterator[CheckResult]:
    """Check all cases, or those of these names alone."""
    for case, rng in gradient_cases(config):
        if not names or case.name in names:
            yield from check_gradients(case, rng, full)


def failed(results: Iterable[CheckResult]) -> list[tuple[str, str]]:
    return [(result.case, result.array) for result in results if not result.passed]


def test_the_checked_layers() -> None:
    single = "affine temporal_affine word_embedding temporal_softmax_loss dropout attention_keys attention"
    of_transformer = "layer_norm positions feed_forward_relu feed_forward_gelu self_attention memory_attention"
    of_cells = [f"{cell}_{case}" for case in ("step", "scan", "scan_context") for cell in CELLS]
    assert list(LAYERS) == [*single.split(), *of_transformer.split(), *of_cells, "rnn", "lstm"]


@pytest.mark.parametrize(
    ("cell", "options", "full"),
    [
        ("rnn", {}, False),
        ("lstm", DROPOUT, False),
        pytest.param("rnn", {**DROPOUT, **SMALL}, True, marks=pytest.mark.slow),
        ("lstm", {"wordvec_dim": 2, "hidden_dim": 1}, False),
        ("gru", {}, False),
        ("transformer", {"activation": "relu", "dropout_layers": 0.5}, False),
    ],
    ids=["rnn", "lstm with dropout", "rnn with dropout, full", "lstm with 1 hidden unit", "gru", "transformer"],
)
def test_all_gradients_pass(cell: str, options: dict[str, Any], full: bool) -> None:
    results = list(check_config(config(decoder=cell, **options), full))
    assert failed(results) == []
    assert [(result.case, result.array) for result in results] == [*GRADIENTS, *model_gradients(cell)]
    assert {result.check for result in results} == ({"elements"} if full else {"direction"})


def first_rows_activated(monkeypatch: pytest.MonkeyPatch) -> None:
    activate = feed_forward.activate

    def faulty(a: Array, bias: Array, activation: Any, derivative: Array | None = None) -> None:
        activate(a, bias, activation, derivative)
        if derivative is not None:
            derivative[feed_forward.ACTIVATED_ROWS :] = 0

    monkeypatch.setattr(feed_forward, "activate", faulty)


def first_rows_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = layer_norm.layer_norm_backward

    def faulty(dout: Array, cache: Any) -> tuple[Array, Array, Array]:
        dx, dgamma, dbeta = backward(dout, cache)
        dx[layer_norm.BLOCK_ROWS :] = 0
        return dx, dgamma, dbeta

    monkeypatch.setitem(LAYERS, "layer_norm", LAYERS["layer_norm"]._replace(backward=faulty))


def first_groups_attended(monkeypatch: pytest.MonkeyPatch) -> None:
    backward = multi_head_attention._groups_backward

    def faulty(dout: Array, cache: Any, dqueries: Array, *rest: Any) -> Any:
        grads = backward(dout, cache, dqueries, *rest)
        for block in cache.blocks[1:]:
            dqueries[block.rows[block.is_row]] = 0
        return grads

    monkeypatch.setattr(multi_head_attention, "_groups_backward", faulty)


def last_group_of_an_image_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(dout: Array, cache: Any) -> Array:
        ids, shape = cache
        grad = np.zeros(shape, dout.dtype)
        grad[ids] = dout
        return grad

    monkeypatch.setattr(transformer, "word_embedding_backward", faulty)


def sum_of_workers(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*parts: list[dict[str, Array]]) -> Iterator[dict[str, Array]]:
        first, *others = chain(*parts)
        return iter([first, *({name: scale * grad for name, grad in grads.items()} for grads in others)])

    monkeypatch.setattr(captioning_transformer, "itertools", SimpleNamespace(chain=faulty))


def third_worker_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*parts: list[dict[str, Array]]) -> Iterator[dict[str, Array]]:
        return iter([*chain(*parts)][:2])

    monkeypatch.setattr(captioning_transformer, "itertools", SimpleNamespace(chain=faulty))


def shard_of_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(self: ThreadPool, x: Array, w: Array, out: Array) -> Array:
        result = matmul(self, x, w, out)
        if self.size > 1 and out.size * x.shape[-1] >= self.min_parallel:
            result[..., self.shards(max(out.shape[-2:]))[1], :] *= 2
        return result

    matmul = ThreadPool.matmul
    monkeypatch.setattr(ThreadPool, "matmul", faulty)


def bias_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "sum", lambda others, first: first, raising=False)


@pytest.mark.parametrize(
    ("plant_fault", "case"),
    [
        (first_rows_activated, "feed_forward_relu"),
        (first_rows_normalized, "layer_norm"),
        (first_groups_attended, "self_attention"),
        (last_group_of_an_image_kept, "model, attention, many captions (transformer)"),
        (partial(sum_of_workers, 0), "model, attention, 3 threads (transformer)"),
        pytest.param(partial(sum_of_workers, -1), "model, attention, 3 threads (transformer)", marks=pytest.mark.slow),
        pytest.param(bias_of_workers, "model, attention, 3 threads (transformer)", marks=pytest.mark.slow),
        pytest.param(third_worker_lost, "model, attention, 3 threads (transformer)", marks=pytest.mark.slow),
        (bias_of_workers, "model, attention, 3 threads (lstm)"),
        (shard_of_a_product, "model, attention, 3 threads (lstm)"),
    ],
)
def test_a_fault_after_the_first_block_or_worker_is_detected(
    plant_fault: Callable[[pytest.MonkeyPatch], None], case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_fault(monkeypatch)
    results = check_config(config(decoder="lstm" if "lstm" in case else "transformer"), names=[case])
    assert any(not result.passed for result in results)


@pytest.mark.parametrize("standardize", [False, True])
def test_the_model_is_checked_with_the_configured_options(standardize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    models = []
    loss = CaptioningRNN.loss
    monkeypatch.setattr(CaptioningRNN, "loss", lambda self, *a, **k: models.append(self) or loss(self, *a, **k))
    chosen = dataclasses.replace(config(dropout_embedding=0.4, **SMALL), data=Data(standardize=standardize))
    assert failed(check_config(chosen)) == []
    assert {m.dropout for m in models} == {Dropout(words=0.4), *(variant.dropout for variant in VARIANTS.values())}
    assert {m.smoothing for m in models} == {0.0, 0.1}
    images = {"init", "first", "every"}
    assert {(m.sizes.image, m.sizes.attention) for m in models} == set(product(images, {"none", "adaptive"}))
    assert {m.standardizer is not None for m in models} == {standardize}
    assert {m.region_standardizer is not None for m in models} == {standardize}


@pytest.mark.parametrize(("fault", "gradient"), rotated(GRADIENTS))
def test_a_fault_in_a_layer_gradient_is_detected(
    gradient: tuple[str, str], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, array = gradient
    plant(monkeypatch, name, array, FAULTS[fault])
    rng = np.random.default_rng(0)
    assert failed(check_gradients(layer_case(name, LAYERS[name], letters_of(SIZES), rng), rng)) == [(name, array)]


# Faults are planted in every second gradient, so that each is detected, and no other is reported.
alternate = pytest.mark.parametrize("first", [0, pytest.param(1, marks=pytest.mark.slow)])


@alternate
@pytest.mark.parametrize(("fault", "cell"), rotated([*CELLS]))
def test_faults_in_gradients_of_the_model_are_detected(
    cell: str, first: int, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_in_model(monkeypatch, PARAMS[first::2], FAULTS[fault])
    rng = np.random.default_rng(0)
    sizes = dataclasses.replace(SIZES, decoder=cell)
    case = model_case("model", config(), VARIANTS[EVERY], sizes, rng)
    assert failed(check_gradients(case, rng)) == [("model", array) for array in PARAMS[first::2]]


@pytest.mark.slow
@alternate
def test_faults_in_gradients_of_a_transformer_are_detected(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = tuple(parameter_shapes(TRANSFORMER))[first::2]
    plant_in_model(monkeypatch, arrays, FAULTS["one_element"])
    rng = np.random.default_rng(0)
    variant = Variant(ATTENTION, Dropout(0.2, 0.3, 0.4, 0.2, layers=0.3))
    case = model_case("model", config(), variant, TRANSFORMER, rng)
    assert failed(check_gradients(case, rng)) == [("model", array) for array in arrays]


@pytest.mark.parametrize(
    ("cell", "array"),
    [
        pytest.param("rnn", "Wh", marks=pytest.mark.slow),
        ("lstm", "b_vocab"),
        pytest.param("gru", "b", marks=pytest.mark.slow),
        pytest.param("transformer", "layer1_W1", marks=pytest.mark.slow),
    ],
)
def test_a_fault_is_detected_in_every_variant_of_the_model(
    cell: str, array: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant_in_model(monkeypatch, [array], FAULTS["scaled"])
    expected = [(case, name) for case, name in model_gradients(cell) if name == array]
    assert (
        failed(check_config(config(decoder=cell, **SMALL), names=[case for case, _ in model_gradients(cell)]))
        == expected
    )


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
@pytest.mark.parametrize(("inner", "suffix"), [("sequence_backward", ""), ("step_backward", "_step")])
def test_a_fault_in_the_layer_functions_is_detected(
    cell: str, inner: str, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted in the layer module instead of the table of cases: all gradients zero, with the correct shapes."""
    module = import_module(f"captioner.layers.{cell}")
    correct = getattr(module, inner)

    def zeros(*args: Any) -> Any:
        dx, dstate, *dweights = correct(*args)
        return 0 * dx, tuple(0 * d for d in dstate), *(0 * d for d in dweights)

    monkeypatch.setattr(module, inner, zeros)
    name = f"{cell}{suffix}"
    assert failed(check_config(config(**SMALL), names=LAYERS)) == [(name, array) for array in LAYERS[name].shapes]
