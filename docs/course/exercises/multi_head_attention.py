"""Multi-head attention.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np


def multi_head_attention_forward(query, key, value, params, num_heads, attn_mask=None):
    """q = query Wq + bq,  k = key Wk + bk,  v = value Wv + bv, split into heads of d = E / num_heads columns;

    e = q kᵀ / sqrt(d),  α = softmax(e) for each head, only where attn_mask is True;   out = [α v of all heads] Wo + bo

    Subtract the largest score of each row before exp, which would overflow.

    Shapes: query (N, S, E), key, value (N, T, E), params Wq, Wk, Wv, Wo (E, E), bq, bk, bv, bo (E,), attn_mask (S, T)
    -> out (N, S, E), cache.
    """
    raise NotImplementedError


def multi_head_attention_backward(dout, cache):
    """The gradient of a softmax α = softmax(e):  de = α ⊙ (dα - Σ_m α_m dα_m)

    Shapes: dout (N, S, E) -> dquery (N, S, E), dkey, dvalue (N, T, E), grads: a dict like params.
    """
    raise NotImplementedError
