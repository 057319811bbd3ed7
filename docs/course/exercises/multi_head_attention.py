"""Multi-head attention.

Copy this file to student.py, write the functions, and check them: captioner gradcheck --file student.py
"""

import numpy as np


def multi_head_attention_forward(query, key, value, params, num_heads, attn_mask=None):
    """q = query Wq + bq,  k = key Wk + bk,  v = value Wv + bv, split into heads of d = E / num_heads columns;

    e = q kᵀ / sqrt(d),  α = softmax(e) for each head, only where attn_mask is True;   out = [α v of all heads] Wo + bo

    Subtract the largest score of each row before exp, which would overflow.

    Shapes: query (N, T, E), key, value (N, L, E), params Wq, Wk, Wv, Wo (E, E), bq, bk, bv, bo (E,), attn_mask (T, L)
    -> out (N, T, E), cache.
    """
    raise NotImplementedError


def multi_head_attention_backward(dout, cache):
    """The gradient of a softmax α_t = softmax(e_t):  de_tl = α_tl (dα_tl - Σ_m α_tm dα_tm)

    Shapes: dout (N, T, E) -> dquery (N, T, E), dkey, dvalue (N, L, E), grads: a dict like params.
    """
    raise NotImplementedError
