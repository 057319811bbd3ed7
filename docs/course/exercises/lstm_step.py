"""One step of an LSTM, and its gradient.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    """a = x Wx + prev_h Wh + b, with the columns of a_i, a_f, a_o and a_g in this order

    i = σ(a_i), f = σ(a_f), o = σ(a_o), g = tanh(a_g)

    next_c = f ⊙ prev_c + i ⊙ g;   next_h = o ⊙ tanh(next_c)

    Shapes: x (N, D), prev_h, prev_c (N, H), Wx (D, 4 H), Wh (H, 4 H), b (4 H,) -> next_h, next_c (N, H), cache.
    """
    raise NotImplementedError


def lstm_step_backward(dnext_h, dnext_c, cache):
    """next_c reaches the loss in two ways: through next_h, and through the next step, whose part is dnext_c.

    Shapes: dnext_h, dnext_c (N, H) -> dx (N, D), dprev_h, dprev_c (N, H), dWx (D, 4 H), dWh (H, 4 H), db (4 H,).
    """
    raise NotImplementedError
