"""Word vectors.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np


def word_embedding_forward(x, W):
    """out[n, t] = W[x[n, t]]

    Shapes: x (N, T) ids, W (V, D) -> out (N, T, D), cache.
    """
    raise NotImplementedError


def word_embedding_backward(dout, cache):
    """dW[v] = Σ dout[n, t] over all n and t with x[n, t] = v: a word that occurs twice has two terms.

    Shapes: dout (N, T, D) -> dW (V, D).
    """
    raise NotImplementedError
