"""Blocked products against plain ones, for any size and memory layout."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.layers.blocked_matmul import SMALL, WIDTH, BlockedMatrix
from captioner.parallel.thread_pool import ThreadPool


@settings(deadline=None, max_examples=40)
@given(
    gates=st.integers(1, 4),
    rows=st.integers(1, 70),
    columns=st.sampled_from([1, 5, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH]),
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    layout=st.sampled_from(["row-major", "column-major", "gates innermost"]),
    by_gate=st.booleans(),
    pool=st.sampled_from([ThreadPool(1), ThreadPool(2)]),
    width=st.sampled_from([8, WIDTH, 96, None]),
)
def test_blocked_product_is_the_product(
    gates: int,
    rows: int,
    columns: int,
    counts: list[int],
    layout: str,
    by_gate: bool,
    pool: ThreadPool,
    width: int | None,
) -> None:
    rng = np.random.default_rng(0)
    W = rng.standard_normal((gates, rows, columns))
    if layout == "column-major":
        W = W.swapaxes(1, 2).copy().swapaxes(1, 2)
    if layout == "gates innermost":
        W = W.swapaxes(0, 1).copy().swapaxes(0, 1)
    blocked, products = BlockedMatrix(W, pool, width), []
    for number, count in enumerate(counts):
        x = rng.standard_normal((gates, 1, count, rows) if by_gate else (count, rows))
        expected = (x[:, 0] if by_gate else x) @ W
        np.testing.assert_allclose(blocked.product(x, number % pool.size), expected, rtol=1e-12, atol=1e-12)
        products = [(blocked.product(x, number % pool.size), expected), *products][: pool.size]
        for got, want in products:
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [512, SMALL // WIDTH // 4 + 1])
def test_more_rows_than_one_small_product(rows: int) -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((1, rows, 70)), rng.standard_normal((101, rows))
    np.testing.assert_allclose(BlockedMatrix(W).product(x)[0], x @ W[0], rtol=1e-10, atol=1e-10)


def test_the_packed_matrix_is_a_copy() -> None:
    W = np.ones((1, 3, 5))
    blocked = BlockedMatrix(W)
    W *= 7
    assert (blocked.product(np.ones((2, 3))) == 3).all()


@pytest.mark.parametrize("width", [2, 8, None])
def test_the_matrix_is_returned(width: int | None) -> None:
    W = np.random.default_rng(0).standard_normal((2, 3, 5))
    np.testing.assert_array_equal(BlockedMatrix(W, width=width).matrix(), W)
