"""The global norm of gradients, and clipping by it."""

import functools
import math
import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.optim.update_rules import CHUNK, UPDATE_RULES, Hyper, clip_scale, global_norm, update
from captioner.parallel.thread_pool import ThreadPool


@settings(deadline=None, max_examples=40)
@given(shapes=st.lists(st.lists(st.integers(0, 3), max_size=3), max_size=4))
def test_global_norm_is_the_norm_of_the_concatenated_gradients(shapes: list[list[int]]) -> None:
    rng = np.random.default_rng(0)
    grads = {str(k): np.asarray(rng.standard_normal(shape)) for k, shape in enumerate(shapes)}
    whole = np.concatenate([np.zeros(1), *(g.ravel() for g in grads.values())])
    assert global_norm(grads) == pytest.approx(float(np.linalg.norm(whole)), rel=1e-12)


def test_global_norm_of_float32_is_a_float() -> None:
    length = global_norm({"a": np.full(10_000, 3, np.float32), "b": np.full((2, 2), 4, np.float32)})
    assert type(length) is float
    assert length == pytest.approx(math.sqrt(90_064), rel=1e-6)


def test_global_norm_does_not_depend_on_dict_order() -> None:
    """Plain summation depends on the order: 2⁻⁵⁴ is lost once 1 has been added."""
    tiny = {f"b{k:02}": np.array([2.0**-27]) for k in range(8)}
    first, last = {"a": np.array([1.0]), **tiny}, {**tiny, "a": np.array([1.0])}
    plain = [functools.reduce(operator.add, (float(g @ g) for g in grads.values())) for grads in (first, last)]
    assert math.sqrt(plain[0]) != math.sqrt(plain[1])
    assert global_norm(first) == global_norm(last)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_global_norm_is_bit_identical_for_any_number_of_workers(dtype: type) -> None:
    rng = np.random.default_rng(3)
    grads = {"W": rng.standard_normal((3, CHUNK)).astype(dtype), "b": rng.standard_normal(7).astype(dtype)}
    assert len({global_norm(grads, ThreadPool(size)) for size in (1, 2, 3)}) == 1


def test_global_norm_is_not_finite_if_a_gradient_is_not() -> None:
    assert math.isnan(global_norm({"a": np.array([1.0, np.nan])}))
    assert math.isinf(global_norm({"a": np.array([1.0, np.inf])}))


@pytest.mark.parametrize(
    ("norm", "limit", "scale"), [(4.0, None, 1.0), (4.0, 5.0, 1.0), (5.0, 5.0, 1.0), (10.0, 5.0, 0.5), (0.0, 5.0, 1.0)]
)
def test_clip_scale(norm: float, limit: float | None, scale: float) -> None:
    assert clip_scale(norm, limit) == scale


def test_clipped_gradients_have_the_maximum_norm() -> None:
    rng = np.random.default_rng(0)
    params: dict[str, Any] = {"W": np.zeros((4, 5)), "b": np.zeros(5)}
    grads = {key: 10 * rng.standard_normal(w.shape) for key, w in params.items()}
    scale = clip_scale(global_norm(grads), 2.0)
    update(UPDATE_RULES["sgd"], params, grads, {}, Hyper(learning_rate=1.0), 1, scale)
    assert global_norm(params) == pytest.approx(2.0)
    np.testing.assert_allclose(params["W"], -scale * grads["W"])
