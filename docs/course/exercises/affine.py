"""The output layer: the same affine map for each row, and at each time step.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np


def affine_forward(x, w, b):
    """out = x w + b, with each x[n] flattened to D numbers.

    Shapes: x (N, ...), w (D, M), b (M,) -> out (N, M), cache.
    """
    raise NotImplementedError


def affine_backward(dout, cache):
    """Derive dx, dw and db from dout: which elements of out does an element of w affect, and how?

    Shapes: dout (N, M) -> dx like x, dw (D, M), db (M,).
    """
    raise NotImplementedError


def temporal_affine_forward(x, w, b):
    """out[n, t] = x[n, t] w + b.

    Shapes: x (N, T, D), w (D, M), b (M,) -> out (N, T, M), cache.
    """
    raise NotImplementedError


def temporal_affine_backward(dout, cache):
    """All time steps share w and b.

    Shapes: dout (N, T, M) -> dx (N, T, D), dw (D, M), db (M,).
    """
    raise NotImplementedError
