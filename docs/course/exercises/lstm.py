"""All steps of an LSTM, and back through time. The steps are captioner's: delete the import if you write them, too.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np

from captioner.cs231n import lstm_step_backward, lstm_step_forward


def lstm_forward(x, h0, Wx, Wh, b):
    """h_t, c_t = lstm_step(x_t, h_{t-1}, c_{t-1}), for t = 1 ... T, with c_0 = 0.

    Shapes: x (N, T, D), h0 (N, H), Wx (D, 4 H), Wh (H, 4 H), b (4 H,) -> h (N, T, H), cache.
    """
    raise NotImplementedError


def lstm_backward(dh, cache):
    """The output layer reads h_t: its part of the gradient is dh[:, t]. Step t + 1 reads h_t and c_t.

    Shapes: dh (N, T, H) -> dx (N, T, D), dh0 (N, H), dWx (D, 4 H), dWh (H, 4 H), db (4 H,).
    """
    raise NotImplementedError
