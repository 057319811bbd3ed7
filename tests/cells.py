"""The equations of every cell for one caption, written without the package, as a reference for tests."""

import numpy as np

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def cell_by_hand(cell: str, p: dict[str, Array], x: Array, h: Array, c: Array) -> tuple[Array, Array]:
    """The next h and c of one caption; a cell without c returns it unchanged.

    Shapes: x (D,), h, c (H,).
    """
    ax, ah = x @ p["Wx"] + p["b"], h @ p["Wh"]
    if cell == "rnn":
        return np.tanh(ax + ah), c
    if cell == "lstm":
        i, f, o, g = np.split(ax + ah, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    (ax_r, ax_z, ax_n), (ah_r, ah_z, ah_n) = np.split(ax, 3), np.split(ah, 3)
    z = sigmoid(ax_z + ah_z)
    return (1 - z) * np.tanh(ax_n + sigmoid(ax_r + ah_r) * ah_n) + z * h, c
