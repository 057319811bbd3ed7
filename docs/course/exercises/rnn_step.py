"""One step of an RNN, and its gradient.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    """a = x Wx + prev_h Wh + b;   next_h = tanh(a)

    Shapes: x (N, D), prev_h (N, H), Wx (D, H), Wh (H, H), b (H,) -> next_h (N, H), cache.
    The cache is what the backward pass reads.
    """
    raise NotImplementedError


def rnn_step_backward(dnext_h, cache):
    """First da, with tanh'(a) = 1 - tanh²(a); then the gradients of x, prev_h, Wx, Wh and b.

    Shapes: dnext_h (N, H) -> dx (N, D), dprev_h (N, H), dWx (D, H), dWh (H, H), db (H,).
    """
    raise NotImplementedError
