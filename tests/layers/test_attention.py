"""Attention against its equations for one row at a time, PyTorch's dot-product attention, and any number of threads."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.arrays import SharedRows
from captioner.layers.attention import attention_backward, attention_forward, group_rows, keys_backward, keys_forward
from captioner.layers.softmax import softmax
from captioner.parallel.thread_pool import ThreadPool

Array = np.ndarray
POOLS = [ThreadPool(size) for size in (1, 2, 3)]
H, A, L = 5, 4, 3


def problem(index: list[int], images: int, seed: int = 0) -> tuple[Array, SharedRows, dict[str, Array], Array]:
    """Hidden states, keys, parameters, and the gradient of the output."""
    rng = np.random.default_rng(seed)
    shapes = {"W_query": (H, A), "W_sentinel": (H, A), "b_sentinel": (A,), "W_context": (A, H)}
    h, dout = rng.standard_normal((2, len(index), H))
    keys = SharedRows(rng.standard_normal((images, L, A)), np.array(index, int))
    return h, keys, {name: rng.standard_normal(shape) for name, shape in shapes.items()}, dout


def by_hand(h: Array, keys: Array, p: dict[str, Array]) -> tuple[Array, Array]:
    """The output and the weights of one row. Shapes: h (H,), keys (L, A)."""
    q, s = h @ p["W_query"], np.tanh(h @ p["W_sentinel"] + p["b_sentinel"])
    slots = np.vstack([keys, s])
    weights = np.exp(slots @ q / np.sqrt(A))
    weights /= weights.sum()
    return h + weights @ slots @ p["W_context"], weights


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("index", "images"),
    [([0], 1), ([0, 0, 0], 1), ([2, 0, 2, 2, 0], 3), ([3, 1], 4), ([0, 1, 2], 3), ([], 2)],
    ids=["one", "one image", "one image without rows", "fewer rows than images", "one row per image", "no rows"],
)
def test_each_row_attends_to_the_keys_of_its_image(index: list[int], images: int, pool: ThreadPool) -> None:
    h, keys, p, dout = problem(index, images)
    out, cache = attention_forward(h, keys, *p.values(), pool)
    for row, image in enumerate(index):
        expected, weights = by_hand(h[row], keys.values[image], p)
        np.testing.assert_allclose(out[row], expected, atol=1e-13)
        np.testing.assert_allclose(cache.weights[row], weights, atol=1e-13)
    for grad, serial in zip(attention_backward(dout, cache, pool), attention_backward(dout, cache), strict=True):
        assert np.isfinite(grad).all()
        np.testing.assert_allclose(grad, serial, atol=1e-13)


@given(st.lists(st.integers(0, 4)), st.sampled_from(POOLS), st.integers(0, 99))
def test_gradients_are_the_sum_of_those_of_single_rows(index: list[int], pool: ThreadPool, seed: int) -> None:
    h, keys, p, dout = problem(index, 5, seed)
    dh, dkeys, *dweights = attention_backward(dout, attention_forward(h, keys, *p.values(), pool)[1], pool)
    expected = [np.zeros_like(dkeys), *(np.zeros_like(w) for w in p.values())]
    for row in range(len(index)):
        _, cache = attention_forward(h[[row]], SharedRows(keys.values, keys.index[[row]]), *p.values())
        dh_row, *grads = attention_backward(dout[[row]], cache)
        np.testing.assert_allclose(dh[[row]], dh_row, atol=1e-12)
        for total, grad in zip(expected, grads, strict=True):
            total += grad
    for grad, total in zip((dkeys, *dweights), expected, strict=True):
        np.testing.assert_allclose(grad, total, atol=1e-11)


@pytest.mark.parametrize("pool", POOLS)
def test_keys_are_rectified_projections(pool: ThreadPool) -> None:
    rng = np.random.default_rng(0)
    regions, W, b = rng.standard_normal((2, L, 6)), rng.standard_normal((6, A)), rng.standard_normal(A)
    keys, cache = keys_forward(regions, W, b, pool)
    np.testing.assert_allclose(keys, np.maximum(0, regions @ W + b), atol=1e-14)
    dW, db = keys_backward(np.ones_like(keys), cache, pool)
    np.testing.assert_allclose(db, (keys > 0).sum(axis=(0, 1)))
    np.testing.assert_allclose(dW, np.einsum("mlr,mla->ra", regions, (keys > 0).astype(float)), atol=1e-14)


def test_large_scores_do_not_overflow() -> None:
    h, keys, p, dout = problem([0, 1], 2)
    out, cache = attention_forward(1e4 * h, keys, *p.values())
    assert np.isfinite(out).all()
    np.testing.assert_allclose(cache.weights.max(axis=1), 1)
    assert all(np.isfinite(grad).all() for grad in attention_backward(dout, cache))
    np.testing.assert_allclose(softmax(np.array([[1e4, 0.0], [-1e4, -1e4]])), [[1, 0], [0.5, 0.5]])


def test_the_context_matches_pytorch() -> None:
    """The slots of `scaled_dot_product_attention` are the keys of the image and the sentinel of the row."""
    torch = pytest.importorskip("torch")
    h, keys, p, dout = problem([1, 0, 1, 1], 2)
    out, cache = attention_forward(h, keys, *p.values())
    dh, dkeys, *dweights = attention_backward(dout, cache)

    hidden, values, *weights = (torch.tensor(a, requires_grad=True) for a in (h, keys.values, *p.values()))
    W_query, W_sentinel, b_sentinel, W_context = weights
    sentinel = torch.tanh(hidden @ W_sentinel + b_sentinel)
    slots = torch.cat([values[keys.index], sentinel[:, None]], dim=1)
    context = torch.nn.functional.scaled_dot_product_attention((hidden @ W_query)[:, None], slots, slots)[:, 0]
    expected = hidden + context @ W_context
    (expected * torch.tensor(dout)).sum().backward()
    np.testing.assert_allclose(out, expected.detach().numpy(), atol=1e-13)
    for grad, tensor in zip((dh, dkeys, *dweights), (hidden, values, *weights), strict=True):
        np.testing.assert_allclose(grad, tensor.grad.numpy(), atol=1e-12)


@given(st.lists(st.integers(0, 5)), st.integers(0, 6), st.integers(0, 6))
def test_rows_are_padded_by_group_and_gathered_again(index: list[int], start: int, stop: int) -> None:
    groups = group_rows(np.array(index, int), 6)
    shard = groups.shard(slice(start, max(start, stop)))
    assert sorted(groups.rows) == list(range(len(index)))
    assert all(start <= index[row] < stop for row in shard.rows)
    x = np.array([[row + 1, index[row]] for row in shard.rows.tolist()], float).reshape(-1, 2)
    padded = shard.pad(x)
    assert padded.shape == (max(0, stop - start), groups.width, 2)
    np.testing.assert_array_equal(shard.unpad(padded), x)
    for group, rows in enumerate(padded, start):
        assert {image for row, image in rows.tolist() if row} <= {group}
        assert [row for row, _ in rows.tolist() if row] == [
            row + 1 for row, image in enumerate(index) if image == group
        ]
