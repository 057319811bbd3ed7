"""A layer of a transformer decoder. The parts are captioner's: delete the import if you write them, too.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np

from captioner.cs231n import layernorm_backward, layernorm_forward
from captioner.cs231n.transformer_layers import multi_head_attention_backward, multi_head_attention_forward


def decoder_layer_forward(tgt, memory, params, num_heads, tgt_mask=None):
    """x = norm1(tgt + self-attention(tgt));   x = norm2(x + attention(x, memory));   out = norm3(x + feed_forward(x))

    feed_forward(x) = max(0, x W1 + b1) W2 + b2. tgt_mask is the mask of the self-attention.

    Shapes: tgt (N, T, E), memory (N, L, E), params: those of the two attentions with the prefixes self_ and cross_,
    W1 (E, J), b1 (J,), W2 (J, E), b2 (E,), gamma1, beta1, ... gamma3, beta3 (E,) -> out (N, T, E), cache.
    """
    raise NotImplementedError


def decoder_layer_backward(dout, cache):
    """A residual connection x + f(x) adds its gradient to that of f.

    Shapes: dout (N, T, E) -> dtgt (N, T, E), dmemory (N, L, E), grads: a dict like params.
    """
    raise NotImplementedError
