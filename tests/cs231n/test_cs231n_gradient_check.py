"""The numeric gradients of the assignment."""

import numpy as np
import pytest

from captioner.cs231n.gradient_check import eval_numerical_gradient, eval_numerical_gradient_array


def test_numeric_gradients_are_central_differences_and_restore_x(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.array([[0.3, -1.0], [2.0, 0.0]])
    kept, df = x.copy(), np.array([[1.0, 2.0], [-1.0, 0.5]])
    np.testing.assert_allclose(eval_numerical_gradient(lambda x: (x**3).sum(), x, False), 3 * x**2, atol=1e-8)
    np.testing.assert_allclose(eval_numerical_gradient_array(lambda x: x**2, x, df), 2 * x * df, atol=1e-8)
    np.testing.assert_allclose(eval_numerical_gradient_array(lambda x: x, x, df), df, atol=1e-8)
    half = eval_numerical_gradient(lambda x: abs(x).sum(), x, False, h=0.5)
    np.testing.assert_allclose(half, [[0.6, -1], [1, 0]], atol=1e-12)
    np.testing.assert_array_equal(x, kept)
    assert capsys.readouterr().out == ""
