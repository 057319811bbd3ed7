"""The loss of a caption: cross-entropy of its words.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np


def temporal_softmax_loss(x, y, mask, verbose=False):
    """p_nt = softmax(x_nt);   loss = 1/N Σ_nt mask_nt (-log p_nt[y_nt])

    Positions without a word (mask False) have neither a loss nor a gradient. Subtract the maximum of each row before
    exp, which would overflow for large scores. `verbose` has no effect.

    Shapes: x (N, T, V) scores, y (N, T) ids, mask (N, T) bool -> loss (a number), dx (N, T, V).
    """
    raise NotImplementedError
