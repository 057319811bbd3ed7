"""One step of an LSTM, and its gradient.

Check your work: captioner gradcheck --file docs/course/exercises/lstm_step.py
"""

import numpy as np


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    """a = x Wx + h_prev Wh + b, whose four quarters are a_i, a_f, a_o and a_g;

    i = σ(a_i), f = σ(a_f), o = σ(a_o), g = tanh(a_g);   c = f c_prev + i g;   h = o tanh(c)

    Shapes: x (N, D), prev_h, prev_c (N, H), Wx (D, 4 H), Wh (H, 4 H), b (4 H,) -> next_h, next_c (N, H), cache.
    """
    raise NotImplementedError


def lstm_step_backward(dnext_h, dnext_c, cache):
    """c reaches the loss in two ways: through h, and through dnext_c, the gradient from the next step.

    Shapes: dnext_h, dnext_c (N, H) -> dx (N, D), dprev_h, dprev_c (N, H), dWx (D, 4 H), dWh (H, 4 H), db (4 H,).
    """
    raise NotImplementedError
