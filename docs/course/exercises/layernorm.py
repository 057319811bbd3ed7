"""Layer normalization.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np


def layernorm_forward(x, gamma, beta, ln_param):
    """x̂ = (x - μ) / std,  std = sqrt(var + eps);   out = gamma ⊙ x̂ + beta, with mean μ and variance var of a row.

    eps = ln_param.get("eps", 1e-5)

    Shapes: x (N, D), gamma, beta (D,) -> out (N, D), cache.
    """
    raise NotImplementedError


def layernorm_backward(dout, cache):
    """Each element of a row affects the mean and the variance of the row.

    Shapes: dout (N, D) -> dx (N, D), dgamma, dbeta (D,).
    """
    raise NotImplementedError
