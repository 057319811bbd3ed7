"""All steps of an RNN, and back through time. The steps are captioner's: delete the import if you write them, too.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np

from captioner.cs231n import rnn_step_backward, rnn_step_forward


def rnn_forward(x, h0, Wx, Wh, b):
    """h_t = rnn_step(x_t, h_{t-1}), for t = 1 ... T.

    Shapes: x (N, T, D), h0 (N, H), Wx (D, H), Wh (H, H), b (H,) -> h (N, T, H), cache.
    """
    raise NotImplementedError


def rnn_backward(dh, cache):
    """The output layer reads h_t: its part of the gradient is dh[:, t]. Step t + 1 reads it too; all share the weights.

    Shapes: dh (N, T, H) -> dx (N, T, D), dh0 (N, H), dWx (D, H), dWh (H, H), db (H,).
    """
    raise NotImplementedError
