"""The packed layers of the transformer: equal to the padded ones of the assignment."""

import numpy as np
import pytest

from captioner.cs231n.transformer_layers import multi_head_attention_backward, multi_head_attention_forward
from captioner.layers.feed_forward import ACTIVATIONS
from captioner.layers.multi_head_attention import (
    PADDED_GROUPS,
    group_table,
    memory_attention_backward,
    memory_attention_forward,
    self_attention_backward,
    self_attention_forward,
)
from captioner.layers.packing import Packing, pack

Array = np.ndarray
E, HEADS, T = 6, 3, 4
LENGTHS = {
    "one word": [1],
    "equal": [3, 3, 3],
    "one without words": [2, 0, 5, 1],
    "several blocks": [1 + n * 7 % 6 for n in range(2 * PADDED_GROUPS + 3)],
}
every_case = pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
RNG = np.random.default_rng(0)
W, b, Wo, bo = (RNG.standard_normal(shape) for shape in ((E, 3 * E), 3 * E, (E, E), E))
PARAMS = {f"W{x}": w for x, w in zip("qkv", np.split(W, 3, axis=1), strict=True)}
PARAMS |= {f"b{x}": w for x, w in zip("qkv", np.split(b, 3), strict=True)} | {"Wo": Wo, "bo": bo}


def packed(lengths: list[int]) -> tuple[Packing, Array, Array, Array]:
    """A packing, its table, and random rows and gradients."""
    packing = pack(np.array(lengths))
    table = group_table(np.argsort(packing.order)[packing.caption], len(lengths))
    return packing, table, *RNG.standard_normal((2, sum(lengths), E))


def joined(grads: dict[str, Array]) -> tuple[Array, Array, Array, Array]:
    """The gradients of the assignment's parameters in the layout of the packed layer."""
    weights, biases = (np.concatenate([grads[f"{kind}{x}"] for x in "qkv"], axis=-1) for kind in "Wb")
    return weights, biases, grads["Wo"], grads["bo"]


def close(ours: Array, theirs: Array) -> None:
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@every_case
def test_packed_self_attention_equals_the_padded_one(lengths: list[int]) -> None:
    packing, table, x, dout = packed(lengths)
    steps = max(lengths)
    padded, dpadded = packing.unpack(x, steps), packing.unpack(dout, steps)
    expected, cache = multi_head_attention_forward(
        padded, padded, padded, PARAMS, HEADS, np.tril(np.ones((steps, steps), bool))
    )
    out, packed_cache = self_attention_forward(x, table, W, b, Wo, bo, HEADS)
    close(out, expected[packing.caption, packing.time])
    *dinputs, grads = multi_head_attention_backward(dpadded, cache)
    dx, *dweights = self_attention_backward(dout, packed_cache)
    close(dx, sum(dinputs)[packing.caption, packing.time])
    for grad, theirs in zip(dweights, joined(grads), strict=True):
        close(grad, theirs)


@every_case
def test_packed_attention_over_memory_equals_the_padded_one(lengths: list[int]) -> None:
    packing, table, x, dout = packed(lengths)
    memory = RNG.standard_normal((len(lengths), T, E))
    steps = max(lengths)
    padded, dpadded = packing.unpack(x, steps), packing.unpack(dout, steps)
    expected, cache = multi_head_attention_forward(padded, memory, memory, PARAMS, HEADS)
    out, packed_cache = memory_attention_forward(x, memory[packing.order], table, None, W, b, Wo, bo, HEADS)
    close(out, expected[packing.caption, packing.time])
    dquery, dkey, dvalue, grads = multi_head_attention_backward(dpadded, cache)
    dx, dmemory, *dweights = memory_attention_backward(dout, packed_cache)
    close(dx, dquery[packing.caption, packing.time])
    close(dmemory, (dkey + dvalue)[packing.order])
    for grad, other in zip(dweights, joined(grads), strict=True):
        close(grad, other)
    weights = packed_cache.row_weights()
    close(weights.sum(axis=1), np.ones(len(x)))
    # with equal values, the mean of the heads' weights is all that matters
    q = (x @ PARAMS["Wq"] + PARAMS["bq"]).reshape(-1, HEADS, E // HEADS)
    k = (memory @ PARAMS["Wk"] + PARAMS["bk"]).reshape(-1, T, HEADS, E // HEADS)[packing.caption]
    scores = np.exp(np.einsum("phd,pthd->pht", q, k) / np.sqrt(E // HEADS))
    close(weights, (scores / scores.sum(axis=2, keepdims=True)).mean(axis=1))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_equal_pytorchs(activation: str) -> None:
    torch = pytest.importorskip("torch")
    a = np.linspace(-6, 6, 1001)
    theirs = torch.tensor(a, requires_grad=True)
    options = {"approximate": "tanh"} if activation == "gelu" else {}
    expected = getattr(torch.nn.functional, activation)(theirs, **options)
    expected.sum().backward()
    derivative = np.empty_like(a)
    ACTIVATIONS[activation](a, derivative)
    np.testing.assert_allclose(a, expected.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(derivative, theirs.grad.numpy(), atol=1e-12)


def test_large_scores_do_not_overflow() -> None:
    x = 1e4 * RNG.standard_normal((5, E))
    out, cache = self_attention_forward(x, np.array([[0, 1, 2, 3, 4]]), W, b, Wo, bo, HEADS)
    assert np.isfinite(out).all()
    assert all(np.isfinite(grad).all() for grad in self_attention_backward(out, cache))
