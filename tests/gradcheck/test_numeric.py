"""The numeric gradient check: correct on known functions, restores its arrays, and rejects wrong gradients."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captioner.gradcheck.numeric import (
    Case,
    CheckResult,
    check_gradients,
    directional_derivative,
    numeric_gradient,
    relative_error,
)

Array = np.ndarray


class FixedDirection:
    """A generator that always returns the given direction."""

    def __init__(self, direction: list[float]) -> None:
        self.direction = np.array(direction)

    def standard_normal(self, shape: tuple[int, ...]) -> Array:
        return self.direction.reshape(shape).copy()


def quadratic(change: Callable[[Array], Array] = lambda grad: grad) -> Case:
    """½ xᵀ A x + Σ sin y, with the gradient of x passed through `change`."""
    A = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -1.0], [0.0, -1.0, 3.0]])
    x, y = np.array([0.3, -1.2, 0.7]), np.array([[0.1, 2.0]])
    return Case(
        "quadratic",
        {"x": x, "y": y},
        lambda: float(0.5 * x @ A @ x + np.sin(y).sum()),
        lambda: {"x": change(A @ x), "y": np.cos(y)},
    )


def rows(case: Case, full: bool = False) -> list[CheckResult]:
    return list(check_gradients(case, np.random.default_rng(0), full))


def test_numeric_gradient_of_a_known_function() -> None:
    case = quadratic()
    for name, x in case.arrays.items():
        np.testing.assert_allclose(numeric_gradient(case.loss, x), case.grads()[name], rtol=1e-9, atol=1e-9)
    x = np.array(2.0)
    assert numeric_gradient(lambda: float(x**3), x) == pytest.approx(12), "a scalar array"


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3).filter(lambda d: np.linalg.norm(d) > 0.1))
def test_directional_derivative_is_the_inner_product_with_the_gradient(direction: list[float]) -> None:
    case = quadratic()
    numeric = directional_derivative(case.loss, case.arrays["x"], np.array(direction))
    assert numeric == pytest.approx(float(case.grads()["x"] @ np.array(direction)), abs=1e-7)


def test_arrays_are_restored_exactly() -> None:
    x = np.array([0.1, 1e-300, 1 / 3, 1e10, -0.0])
    saved = x.copy()
    numeric_gradient(lambda: float(x.sum()), x)
    assert x.tobytes() == saved.tobytes()
    directional_derivative(lambda: float(x.sum()), x, np.ones(5))
    assert x.tobytes() == saved.tobytes()
    rows(Case("sum", {"x": x}, lambda: float(x.sum()), lambda: {"x": np.zeros(5)}))
    assert x.tobytes() == saved.tobytes()


@pytest.mark.parametrize(
    ("a", "b", "error"),
    [
        (0.0, 0.0, 0.0),
        (1.0, 1.0, 0.0),
        (1.0, -1.0, 2.0),
        (0.0, 1e-30, 1.0),
        (np.array([100.0, 1.0]), np.array([100.0, 2.0]), 0.01),
        (np.zeros((0, 3)), np.zeros((0, 3)), 0.0),
    ],
)
def test_relative_error(a: Array, b: Array, error: float) -> None:
    assert relative_error(a, b) == pytest.approx(error)
    assert relative_error(b, a) == relative_error(a, b)


@pytest.mark.parametrize(("full", "kind"), [(False, "direction"), (True, "elements")])
def test_correct_gradients_pass(full: bool, kind: str) -> None:
    assert [(row.case, row.array, row.check, row.passed) for row in rows(quadratic(), full)] == [
        ("quadratic", "x", kind, True),
        ("quadratic", "y", kind, True),
    ]


WRONG = {
    "scaled": lambda grad: grad * 1.01,
    "negated": lambda grad: -grad,
    "zeros": np.zeros_like,
    "one element": lambda grad: grad + np.array([0, 1e-3, 0]),
    "nan": lambda grad: np.full_like(grad, np.nan),
    "infinite": lambda grad: grad + np.array([0, np.inf, 0]),
    "another shape": lambda grad: grad[:2],
    "one more axis": lambda grad: grad[None],
    "rolled": lambda grad: np.roll(grad, 1),
}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_only_the_wrong_gradient_fails(wrong: Callable[[Array], Array], full: bool) -> None:
    bad, good = rows(quadratic(wrong), full)
    assert (bad.case, bad.array, bad.passed) == ("quadratic", "x", False)
    assert bad.error > 1e-4
    assert (good.array, good.passed) == ("y", True)


def test_a_missing_gradient_fails() -> None:
    case = quadratic()._replace(grads=dict)
    assert [(row.array, row.check, row.error, row.passed) for row in rows(case)] == [
        ("x", "invalid", np.inf, False),
        ("y", "invalid", np.inf, False),
    ]


def test_elements_decide_if_the_direction_is_orthogonal_to_the_gradient() -> None:
    x = np.array([0.1, 0.7])  # their difference rounds, so the derivative along (1, 1) is not exactly 0
    right = Case("plane", {"x": x}, lambda: float(x[0] - x[1]), lambda: {"x": np.array([1.0, -1.0])})
    (row,) = check_gradients(right, FixedDirection([1.0, 1.0]), False)  # type: ignore[arg-type]
    assert (row.check, row.passed) == ("elements", True)
    wrong = right._replace(grads=lambda: {"x": np.array([1.0, -1.001])})
    (row,) = check_gradients(wrong, FixedDirection([1.0, 1.0]), False)  # type: ignore[arg-type]
    assert (row.check, row.passed) == ("elements", False)


def test_tolerance() -> None:
    case = quadratic(lambda grad: grad * (1 + 1e-4))
    assert [row.passed for row in check_gradients(case, np.random.default_rng(0), tolerance=1e-3)] == [True, True]
    assert [row.passed for row in check_gradients(case, np.random.default_rng(0), tolerance=1e-5)] == [False, True]


def test_the_error_of_each_part_is_relative_to_the_whole_array() -> None:
    x = np.array([[1.0, 2.0, 100.0, 4.0]])
    wrong = np.array([[2.0, 4.0, 210.0, 8.0]])
    case = Case("parts", {"x": x}, lambda: float((x**2).sum()), lambda: {"x": wrong}, {"x": "ab"})
    (row,) = rows(case)
    assert row.parts == (("a", pytest.approx(0, abs=1e-6)), ("b", pytest.approx(10 / 210)))
    assert rows(case._replace(grads=lambda: {"x": 2 * x}), full=True)[0].parts == (), "of a correct gradient"
    assert rows(case._replace(parts={}))[0].parts == ()


def test_only_zeros_pass_for_an_array_that_the_loss_does_not_read() -> None:
    x = np.array([1.0, 2.0])
    assert rows(Case("dead", {"x": x}, lambda: 3.0, lambda: {"x": np.zeros(2)}))[0].passed
    assert not rows(Case("dead", {"x": x}, lambda: 3.0, lambda: {"x": np.full(2, 1e-9)}))[0].passed


@pytest.mark.parametrize("scale", [1.0, 1.01])
def test_a_kink_within_the_step_does_not_fail_a_correct_gradient(scale: float) -> None:
    x = np.array([4e-6, 1.0])
    case = Case("kink", {"x": x}, lambda: float(np.maximum(0, x).sum()), lambda: {"x": scale * (x > 0)})
    assert [row.passed for row in rows(case, full=True)] == [scale == 1]
