"""Products from blocks are products, whatever the sizes and however the matrix lies in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.layers.blocked_matmul import SMALL, WIDTH, BlockedMatrix
from captioner.parallel.buffers import Workspace
from captioner.parallel.thread_pool import ThreadPool


@settings(deadline=None, max_examples=60)
@given(
    gates=st.integers(1, 4),
    rows=st.integers(1, 70),
    columns=st.sampled_from([1, 5, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH]),
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    lying=st.sampled_from(["by rows", "by columns", "by gate"]),
    own=st.booleans(),
    pool=st.sampled_from([ThreadPool(1), ThreadPool(2)]),
)
def test_it_is_the_product(
    gates: int, rows: int, columns: int, counts: list[int], lying: str, own: bool, pool: ThreadPool
) -> None:
    rng = np.random.default_rng(0)
    W = rng.standard_normal((gates, rows, columns))
    if lying == "by columns":
        W = W.swapaxes(1, 2).copy().swapaxes(1, 2)
    if lying == "by gate":
        W = W.swapaxes(0, 1).copy().swapaxes(0, 1)
    factor, products = BlockedMatrix(W, pool=pool), []
    for number, count in enumerate(counts):
        x = rng.standard_normal((gates, 1, count, rows) if own else (count, rows))
        expected = (x[:, 0] if own else x) @ W
        np.testing.assert_allclose(factor.product(x, number % pool.size), expected, rtol=1e-12, atol=1e-12)
        products = [(factor.product(x, number % pool.size), expected), *products][: pool.size]
        for got, want in products:
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rows", [512, SMALL // WIDTH // 4 + 1])
def test_more_rows_than_fit_a_small_product(rows: int) -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((1, rows, 70)), rng.standard_normal((101, rows))
    np.testing.assert_allclose(BlockedMatrix(W).product(x)[0], x @ W[0], rtol=1e-10, atol=1e-10)


def test_what_lay_in_the_workspace_before_does_not_matter() -> None:
    """Nor do numbers that are none, in the columns beyond the last."""
    workspace, W = Workspace(), np.ones((1, 3, 5))
    BlockedMatrix(np.full((1, 3, 60), np.nan), "W", workspace).product(np.ones((9, 3)))
    assert (BlockedMatrix(W, "W", workspace).product(np.ones((4, 3))) == 3).all()


def test_a_later_change_of_the_matrix_does_not_reach_it() -> None:
    W = np.ones((1, 3, 5))
    factor = BlockedMatrix(W)
    W *= 7
    assert (factor.product(np.ones((2, 3))) == 3).all()
