"""Attention of an LSTM over the regions of an image. Its step is captioner's: delete the import if you write it, too.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np

from captioner.cs231n import lstm_step_backward, lstm_step_forward


def dot_product_attention_forward(prev_h, A):
    """e_l = prev_h · A_l / sqrt(H);   α = softmax(e);   attn = Σ_l α_l A_l

    A_l = A[n, :, i, j] is the vector of region l, and attn_weights[n, i, j] its weight α_l. The softmax is over all
    D_a x D_a regions of an image. Subtract the largest score of the image before exp, which would overflow.

    Shapes: prev_h (N, H), A (N, H, D_a, D_a) -> attn (N, H), attn_weights (N, D_a, D_a), cache.
    """
    raise NotImplementedError


def dot_product_attention_backward(dattn, dattn_weights, cache):
    """The weights have two gradients: dattn_weights, and that of the sum. A_l is read twice, by the sum and by e_l.

    The gradient of a softmax α = softmax(e):  de_l = α_l (dα_l - Σ_m α_m dα_m)

    Shapes: dattn (N, H), dattn_weights (N, D_a, D_a) -> dprev_h (N, H), dA (N, H, D_a, D_a).
    """
    raise NotImplementedError


def attention_forward(x, A, Wx, Wh, Wattn, b):
    """attn_t = dot_product_attention(h_{t-1}, A)

      a = x_t Wx + h_{t-1} Wh + attn_t Wattn + b;   the gates are those of an LSTM.

    h_0 = c_0 = the mean of the regions. With [x_t, attn_t] as input and Wx above Wattn as weights, the step is that of
    an LSTM.

    Shapes: x (N, T, D), A (N, H, D_a, D_a), Wx (D, 4 H), Wh, Wattn (H, 4 H), b (4 H,) -> h (N, T, H), cache.
    """
    raise NotImplementedError


def attention_backward(dh, cache):
    """h_{t-1} is read by step t and by its attention. All steps read A, and h_0 and c_0 are its mean.

    The loss does not read attn_weights, so dattn_weights is 0.

    Shapes: dh (N, T, H) -> dx (N, T, D), dA (N, H, D_a, D_a), dWx (D, 4 H), dWh, dWattn (H, 4 H), db (4 H,).
    """
    raise NotImplementedError
