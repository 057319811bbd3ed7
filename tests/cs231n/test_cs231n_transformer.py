"""The assignment's transformer layers against PyTorch's modules, the notebook's encoding and numeric gradients."""

import math
from typing import Any

import numpy as np
import pytest

from captioner.cs231n.gradient_check import eval_numerical_gradient_array
from captioner.cs231n.transformer_layers import (
    decoder_layer_backward,
    decoder_layer_forward,
    multi_head_attention_backward,
    multi_head_attention_forward,
    positional_encoding,
)

Array = np.ndarray
N, S, T, E, J, HEADS = 3, 5, 4, 6, 8, 2
ATTENTION = {f"{kind}{x}": (E, E) if kind == "W" else (E,) for x in "qkvo" for kind in "Wb"}
FEED_FORWARD = {"W1": (E, J), "b1": (J,), "W2": (J, E), "b2": (E,)}
NORMS = {f"{name}{i}": (E,) for i in (1, 2, 3) for name in ("gamma", "beta")}
LAYER = {
    **{f"{prefix}_{name}": shape for prefix in ("self", "cross") for name, shape in ATTENTION.items()},
    **FEED_FORWARD,
    **NORMS,
}
CAUSAL = np.tril(np.ones((S, S), bool))


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Near a kink of the ReLU, a numeric gradient is wrong: the numbers must not depend on the order of the tests."""
    np.random.seed(0)


def normal(*shape: int) -> Array:
    return np.random.standard_normal(shape)


def params(shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    return {name: normal(*shape) for name, shape in shapes.items()}


def test_positions_are_the_notebooks() -> None:
    """Element by element, with the formula of the notebook."""
    encoding = positional_encoding(11, E)
    assert encoding.shape == (11, E)
    for i in range(11):
        for j in range(E):
            angle = i * 10000 ** (-(j - j % 2) / E)
            assert encoding[i, j] == pytest.approx(math.cos(angle) if j % 2 else math.sin(angle), abs=1e-15)


def test_heads_must_divide_the_width() -> None:
    x = normal(N, S, E)
    with pytest.raises(ValueError, match="num_heads: expected a divisor of embed_dim 6, got 4"):
        multi_head_attention_forward(x, x, x, params(ATTENTION), 4)


@pytest.mark.parametrize(
    ("mask", "got"),
    [
        (np.ones(S), rf"\({S},\)"),
        (np.ones((N, S, S)), rf"\({N}, {S}, {S}\)"),
        (np.tri(S, k=-1), "nothing in row 0"),
    ],
)
def test_wrong_masks_are_refused(mask: Array, got: str) -> None:
    x = normal(N, S, E)
    expected = rf"attn_mask: expected \({S}, {S}\) with something allowed in each row, got {got}"
    with pytest.raises(ValueError, match=expected):
        multi_head_attention_forward(x, x, x, params(ATTENTION), 2, mask)


def test_a_masked_key_has_no_influence() -> None:
    p, query, key = params(ATTENTION), normal(N, S, E), normal(N, T, E)
    mask = np.ones((S, T), bool)
    mask[:, 2] = False
    out, cache = multi_head_attention_forward(query, key, key, p, HEADS, mask)
    _, dkey, dvalue, _ = multi_head_attention_backward(np.ones_like(out), cache)
    assert not dkey[:, 2].any()
    assert not dvalue[:, 2].any()
    key[:, 2] = 100
    np.testing.assert_array_equal(multi_head_attention_forward(query, key, key, p, HEADS, mask)[0], out)


def test_numeric_gradients_of_the_decoder_layer() -> None:
    p, tgt, memory, dout = params(LAYER), normal(1, S, E), normal(1, T, E), normal(1, S, E)
    _, cache = decoder_layer_forward(tgt, memory, p, HEADS, CAUSAL)
    dtgt, dmemory, grads = decoder_layer_backward(dout, cache)
    assert grads.keys() == p.keys()
    for x, dx in ((tgt, dtgt), (memory, dmemory), *((p[name], grads[name]) for name in p)):
        numeric = eval_numerical_gradient_array(
            lambda _: decoder_layer_forward(tgt, memory, p, HEADS, CAUSAL)[0], x, dout
        )
        np.testing.assert_allclose(dx, numeric, atol=1e-7)


def test_float32_stays_float32() -> None:
    p = {name: w.astype(np.float32) for name, w in params(LAYER).items()}
    tgt, memory = normal(N, S, E).astype(np.float32), normal(N, T, E).astype(np.float32)
    out, cache = decoder_layer_forward(tgt, memory, p, HEADS, CAUSAL)
    dtgt, dmemory, grads = decoder_layer_backward(out, cache)
    assert {a.dtype for a in (out, dtgt, dmemory, *grads.values())} == {np.dtype(np.float32)}


def close(ours: Array, theirs: Any) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-10, rtol=0)


def load_attention(module: Any, p: dict[str, Array], torch: Any) -> None:
    """Give an `nn.MultiheadAttention` our parameters: its weights are transposed, those of q, k and v are one."""
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.tensor(np.concatenate([p[f"W{x}"].T for x in "qkv"])))
        module.in_proj_bias.copy_(torch.tensor(np.concatenate([p[f"b{x}"] for x in "qkv"])))
        module.out_proj.weight.copy_(torch.tensor(p["Wo"].T))
        module.out_proj.bias.copy_(torch.tensor(p["bo"]))


def attention_gradients(module: Any) -> dict[str, Any]:
    weights, biases = module.in_proj_weight.grad.split(E), module.in_proj_bias.grad.split(E)
    grads = {f"W{x}": w.T for x, w in zip("qkv", weights, strict=True)}
    grads |= {f"b{x}": b for x, b in zip("qkv", biases, strict=True)}
    return grads | {"Wo": module.out_proj.weight.grad.T, "bo": module.out_proj.bias.grad}


def test_the_decoder_layer_equals_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    p, tgt, memory, dout = params(LAYER), normal(N, S, E), normal(N, T, E), normal(N, S, E)
    out, cache = decoder_layer_forward(tgt, memory, p, HEADS, CAUSAL)
    module = torch.nn.TransformerDecoderLayer(E, HEADS, J, dropout=0.0, batch_first=True, dtype=torch.float64)
    attentions = {"self_": module.self_attn, "cross_": module.multihead_attn}
    for prefix, attention in attentions.items():
        load_attention(attention, {name: p[prefix + name] for name in ATTENTION}, torch)
    theirs = {f"{kind}{i}": getattr(module, f"linear{i}") for i in (1, 2) for kind in "Wb"}
    theirs |= {f"{name}{i}": getattr(module, f"norm{i}") for i in (1, 2, 3) for name in ("gamma", "beta")}
    tensors = {name: layer.weight if name[0] in "Wg" else layer.bias for name, layer in theirs.items()}
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.tensor(p[name].T))
    inputs = [torch.tensor(a, requires_grad=True) for a in (tgt, memory)]
    expected = module(*inputs, tgt_mask=torch.tensor(~CAUSAL))
    expected.backward(torch.tensor(dout))
    close(out, expected)
    dtgt, dmemory, grads = decoder_layer_backward(dout, cache)
    close(dtgt, inputs[0].grad)
    close(dmemory, inputs[1].grad)
    expected_grads = {name: tensor.grad.permute(*range(tensor.ndim)[::-1]) for name, tensor in tensors.items()}
    for prefix, attention in attentions.items():
        expected_grads |= {prefix + name: grad for name, grad in attention_gradients(attention).items()}
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        close(grad, expected_grads[name])
