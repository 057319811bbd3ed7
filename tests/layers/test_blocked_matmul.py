"""Blocked products against plain ones, for any size and memory layout; and the choice of the block width."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.layers import blocked_matmul
from captioner.layers.blocked_matmul import (
    MANY_ROWS,
    SMALL,
    WIDTH,
    BlockedMatrix,
    InferenceMatrix,
    block_width,
    has_small_kernels,
)
from captioner.parallel.machine import Blas
from captioner.parallel.thread_pool import ThreadPool

TOLERANCE = {np.float64: 1e-12, np.float32: 1e-4}


@pytest.mark.parametrize(
    ("library", "width"),
    [
        (Blas("OpenBLAS", "0.3.31", "SkylakeX", 1), WIDTH),
        (Blas("OpenBLAS", "0.3.31", "Cooperlake", 1), WIDTH),
        (Blas("OpenBLAS", "0.3.31", "SAPPHIRERAPIDS", 2), WIDTH),
        (Blas("OpenBLAS", "0.3.31", "Haswell", 1), None),
        (Blas("OpenBLAS", "0.3.31", None, 1), None),
        (Blas("MKL", "2025.0", "SkylakeX", 1), None),
        (Blas("accelerate", "unknown", None, None), None),
    ],
)
def test_blocks_are_for_openblas_with_avx512(library: Blas, width: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_matmul, "describe_blas", lambda: library)
    has_small_kernels.cache_clear()
    try:
        assert [block_width(rows) for rows in (1, MANY_ROWS - 1, MANY_ROWS)] == [width, width, None]
    finally:
        has_small_kernels.cache_clear()


@pytest.mark.parametrize(("coretype", "width"), [("SkylakeX", WIDTH), ("Haswell", None)])
def test_the_width_is_that_of_the_kernels_in_use(
    coretype: str, width: int | None, shell: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPENBLAS_CORETYPE selects kernels; a CPU without AVX-512 does not get those for it."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", coretype)
    code = "from captioner.layers.blocked_matmul import *; print(describe_blas().kernel, block_width(1))"
    kernel, chosen = shell(code=code).stdout.split()
    if kernel != coretype:
        pytest.skip(f"the BLAS library has {kernel}, not {coretype}")
    assert chosen == str(width)


@given(
    gates=st.integers(1, 4),
    rows=st.integers(1, 70),
    columns=st.sampled_from([1, 5, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH]),
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=3),
    layout=st.sampled_from(["row-major", "column-major", "gates innermost"]),
    by_gate=st.booleans(),
    pool=st.sampled_from([ThreadPool(1), ThreadPool(2)]),
    width=st.sampled_from([8, WIDTH, 96, None]),
    dtype=st.sampled_from([*TOLERANCE]),
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
    dtype: type[np.floating],
) -> None:
    rng, tolerance = np.random.default_rng(0), TOLERANCE[dtype]
    W = rng.standard_normal((gates, rows, columns)).astype(dtype)
    if layout == "column-major":
        W = W.swapaxes(1, 2).copy().swapaxes(1, 2)
    if layout == "gates innermost":
        W = W.swapaxes(0, 1).copy().swapaxes(0, 1)
    blocked, products = BlockedMatrix(W, width, pool), []
    for number, count in enumerate(counts):
        x = rng.standard_normal((gates, 1, count, rows) if by_gate else (count, rows)).astype(dtype)
        expected = (x[:, 0] if by_gate else x) @ W
        np.testing.assert_allclose(blocked.product(x, number % pool.size), expected, rtol=tolerance, atol=tolerance)
        products = [(blocked.product(x, number % pool.size), expected), *products][: pool.size]
        for got, want in products:
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rows", [512, SMALL // WIDTH // 4 + 1])
def test_more_rows_than_one_small_product(rows: int) -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((1, rows, 70)), rng.standard_normal((101, rows))
    np.testing.assert_allclose(BlockedMatrix(W, WIDTH).product(x)[0], x @ W[0], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("small_kernels", [False, True])
def test_inference_computes_products_of_any_number_of_rows(
    small_kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("captioner.layers.blocked_matmul.has_small_kernels", lambda: small_kernels)
    rng = np.random.default_rng(0)
    W = rng.standard_normal((2, 130, 70))
    matrix, copy = InferenceMatrix(W), W.copy()
    W[...] = 0
    for rows in (1, 200, 40, MANY_ROWS, 3):
        x = rng.standard_normal((rows, 130))
        np.testing.assert_allclose(matrix.product(x), x @ copy, rtol=1e-10, atol=1e-10)
