"""The GRU cell in its reset-after form, with PyTorch's gate order (r, z, n)."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.layers.cell import Cell, CellState


def gates_forward(ax: Array, ah: Array, prev: CellState, out: CellState, saved: Array | None) -> None:
    """Compute the new hidden state:

    r = σ(ax_r + ah_r), z = σ(ax_z + ah_z), n = tanh(ax_n + r ⊙ ah_n);   h = (1 - z) ⊙ n + z ⊙ prev_h

    The reset gate r multiplies the product prev_h Wh_n, not prev_h, so one product per step suffices. There is one
    bias, in ax: cuDNN and PyTorch have a second one, of prev_h Wh_n inside the factor of r, which is 0 here.

    Saves ∂h/∂a_r = d_n ⊙ ah_n ⊙ r ⊙ (1 - r), ∂h/∂a_z = (prev_h - n) ⊙ z ⊙ (1 - z) and
    ∂h/∂a_n = d_n = (1 - z) ⊙ (1 - n²), then r and z.

    Shapes: ax, ah (3, N, H); prev, out h (N, H); saved (5, N, H).
    Source: the equations are those of PyTorch's nn.GRU. Cho et al. 2014, "Learning Phrase Representations using RNN
    Encoder-Decoder", has r after the product in v1 of arXiv 1406.1078, and before it, (r ⊙ prev_h) Wh_n, in v3.
    """
    (h,), (prev_h,) = out, prev
    rz = ah[:2]
    rz += ax[:2]
    # σ(x) = ½ tanh(½ x) + ½
    rz *= 0.5
    np.tanh(rz, out=rz)
    rz *= 0.5
    rz += 0.5
    r, z, ah_n = ah
    n = r * ah_n
    n += ax[2]
    np.tanh(n, out=n)
    np.subtract(prev_h, n, out=h)
    if saved is not None:
        d_r, d_z, d_n = saved[:3]
        np.subtract(1, rz, out=saved[:2])
        np.multiply(n, n, out=d_n)
        np.subtract(1, d_n, out=d_n)
        d_n *= d_z
        saved[:2] *= rz
        d_r *= ah_n
        d_r *= d_n
        d_z *= h
        saved[3:] = rz
    h *= z
    h += n


def gates_backward(dstate: CellState, saved: Array, dax: Array, dah: Array) -> Array:
    """Compute the gradients of the pre-activations, and return the direct part of the gradient of prev_h, dh ⊙ z:

    da = dh ⊙ ∂h/∂a;   dah_r = da_r, dah_z = da_z, dah_n = da_n ⊙ r

    Shapes: dstate dh (N, H), saved (5, N, H) -> dax, dah (3, N, H), direct (N, H).
    """
    (dh,), (r, z) = dstate, saved[3:]
    np.multiply(dh, saved[:3], out=dax)
    dah[:2] = dax[:2]
    np.multiply(dax[2], r, out=dah[2])
    direct: Array = dh * z
    return direct


GRU = Cell(gates=3, states=1, saved=5, additive=False, forward=gates_forward, backward=gates_backward, gate_names="rzn")
