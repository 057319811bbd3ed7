"""The layers of captioner as their equations, to read before the fused layers in captioner/layers.

Names, arguments and gate order (i, f, o, g) are those of CS231n; the GRU has PyTorch's order (r, z, n), the attention
of an LSTM the names of EECS 498 (University of Michigan). A cache is what the backward pass reads.
`captioner gradcheck --file docs/course/plain.py` compares the functions with captioner's.

Letters: N captions, T steps, D input, H hidden, V words; all are in README.md. @ is a matrix product, * is elementwise
(⊙). dh of all steps is the output layer's part of the gradient of h; dprev_h is the part of the step after.
"""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


# One step of an RNN: x (N, D), prev_h (N, H), Wx (D, H), Wh (H, H), b (H,).


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    a = x @ Wx + prev_h @ Wh + b
    next_h = np.tanh(a)
    return next_h, (x, prev_h, Wx, Wh, next_h)


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, next_h = cache
    da = dnext_h * (1 - next_h**2)
    dx = da @ Wx.T
    dprev_h = da @ Wh.T
    dWx = x.T @ da
    dWh = prev_h.T @ da
    db = da.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db


# One step of an LSTM: prev_c (N, H), Wx (D, 4 H), Wh (H, 4 H), b (4 H,).


def lstm_step_forward(x, prev_h, prev_c, Wx, Wh, b):
    a_i, a_f, a_o, a_g = np.split(x @ Wx + prev_h @ Wh + b, 4, axis=-1)
    i, f, o, g = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o), np.tanh(a_g)
    next_c = f * prev_c + i * g
    next_h = o * np.tanh(next_c)
    return next_h, next_c, (x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c)


def lstm_step_backward(dnext_h, dnext_c, cache):
    x, prev_h, prev_c, Wx, Wh, i, f, o, g, next_c = cache
    dc = dnext_c + dnext_h * o * (1 - np.tanh(next_c) ** 2)
    da_i = dc * g * i * (1 - i)
    da_f = dc * prev_c * f * (1 - f)
    da_o = dnext_h * np.tanh(next_c) * o * (1 - o)
    da_g = dc * i * (1 - g**2)
    da = np.concatenate([da_i, da_f, da_o, da_g], axis=1)
    dx = da @ Wx.T
    dprev_h = da @ Wh.T
    dprev_c = dc * f
    dWx = x.T @ da
    dWh = prev_h.T @ da
    db = da.sum(axis=0)
    return dx, dprev_h, dprev_c, dWx, dWh, db


# One step of a GRU: Wx (D, 3 H), Wh (H, 3 H), b (3 H,). The reset gate r multiplies prev_h Wh_n.


def gru_step_forward(x, prev_h, Wx, Wh, b):
    ax_r, ax_z, ax_n = np.split(x @ Wx + b, 3, axis=-1)
    ah_r, ah_z, ah_n = np.split(prev_h @ Wh, 3, axis=-1)
    r, z = sigmoid(ax_r + ah_r), sigmoid(ax_z + ah_z)
    n = np.tanh(ax_n + r * ah_n)
    next_h = (1 - z) * n + z * prev_h
    return next_h, (x, prev_h, Wx, Wh, r, z, n, ah_n)


def gru_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, r, z, n, ah_n = cache
    da_n = dnext_h * (1 - z) * (1 - n**2)
    da_z = dnext_h * (prev_h - n) * z * (1 - z)
    da_r = da_n * ah_n * r * (1 - r)
    dax = np.concatenate([da_r, da_z, da_n], axis=1)
    dah = np.concatenate([da_r, da_z, da_n * r], axis=1)
    dx = dax @ Wx.T
    dprev_h = dah @ Wh.T + dnext_h * z
    dWx = x.T @ dax
    dWh = prev_h.T @ dah
    db = dax.sum(axis=0)
    return dx, dprev_h, dWx, dWh, db


# All steps: x (N, T, D), h0 (N, H) -> h (N, T, H).


def rnn_forward(x, h0, Wx, Wh, b):
    h, prev_h, caches = np.zeros((*x.shape[:2], len(Wh))), h0, []
    for t in range(x.shape[1]):
        prev_h, cache = rnn_step_forward(x[:, t], prev_h, Wx, Wh, b)
        h[:, t] = prev_h
        caches.append(cache)
    return h, (x, Wx, Wh, b, caches)


def rnn_backward(dh, cache):
    x, Wx, Wh, b, caches = cache
    dx, dWx, dWh, db = (np.zeros_like(a) for a in (x, Wx, Wh, b))
    dprev_h = np.zeros_like(dh[:, 0])
    for t in reversed(range(dh.shape[1])):
        # h_t is read by the output layer and by step t + 1: its gradient is the sum of both.
        dx[:, t], dprev_h, dWx_t, dWh_t, db_t = rnn_step_backward(dh[:, t] + dprev_h, caches[t])
        # All steps share the weights: their gradients are sums over the steps.
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    return dx, dprev_h, dWx, dWh, db


def lstm_forward(x, h0, Wx, Wh, b):
    h, prev_h, prev_c, caches = np.zeros((*x.shape[:2], len(Wh))), h0, np.zeros_like(h0), []
    for t in range(x.shape[1]):
        prev_h, prev_c, cache = lstm_step_forward(x[:, t], prev_h, prev_c, Wx, Wh, b)
        h[:, t] = prev_h
        caches.append(cache)
    return h, (x, Wx, Wh, b, caches)


def lstm_backward(dh, cache):
    x, Wx, Wh, b, caches = cache
    dx, dWx, dWh, db = (np.zeros_like(a) for a in (x, Wx, Wh, b))
    dprev_h = dprev_c = np.zeros_like(dh[:, 0])
    for t in reversed(range(dh.shape[1])):
        dx[:, t], dprev_h, dprev_c, dWx_t, dWh_t, db_t = lstm_step_backward(dh[:, t] + dprev_h, dprev_c, caches[t])
        dWx += dWx_t
        dWh += dWh_t
        db += db_t
    return dx, dprev_h, dWx, dWh, db


# Before and after the loop: word vectors, and the affine layer of the scores, for each caption and step.


def word_embedding_forward(x, W):
    return W[x], (x, W)


def word_embedding_backward(dout, cache):
    x, W = cache
    dW = np.zeros_like(W)
    # dW[x] += dout would add only the last of several occurrences of a word.
    np.add.at(dW, x, dout)
    return dW


def affine_forward(x, w, b):
    rows = x.reshape(len(x), -1)
    return rows @ w + b, (x.shape, rows, w)


def affine_backward(dout, cache):
    shape, rows, w = cache
    return (dout @ w.T).reshape(shape), rows.T @ dout, dout.sum(axis=0)


def temporal_affine_forward(x, w, b):
    return x @ w + b, (x, w)


def temporal_affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, np.einsum("ntk,ntj->kj", x, dout), dout.sum(axis=(0, 1))


# The loss: scores x (N, T, V), correct words y (N, T), mask (N, T) -> loss, dx (N, T, V).


def temporal_softmax_loss(x, y, mask, verbose=False):
    x = x - x.max(axis=-1, keepdims=True)
    log_p = x - np.log(np.exp(x).sum(axis=-1, keepdims=True))
    one_hot = np.eye(x.shape[-1])[y]
    loss = -np.sum(mask * (one_hot * log_p).sum(axis=-1)) / len(x)
    return loss, (np.exp(log_p) - one_hot) * mask[..., None] / len(x)


# Attention of an LSTM: prev_h (N, H), A (N, H, D_a, D_a), with H numbers A_l per region -> attn (N, H) and attn_weights
# (N, D_a, D_a).


def dot_product_attention_forward(prev_h, A):
    e = np.einsum("nh,nhij->nij", prev_h, A) / np.sqrt(A.shape[1])
    exps = np.exp(e - e.max(axis=(1, 2), keepdims=True))
    attn_weights = exps / exps.sum(axis=(1, 2), keepdims=True)
    attn = np.einsum("nij,nhij->nh", attn_weights, A)
    return attn, attn_weights, (prev_h, A, attn_weights)


def dot_product_attention_backward(dattn, dattn_weights, cache):
    prev_h, A, attn_weights = cache
    # The weights are returned, and read by the sum.
    dattn_weights = dattn_weights + np.einsum("nh,nhij->nij", dattn, A)
    # Softmax: each weight depends on all scores.
    mean = (attn_weights * dattn_weights).sum(axis=(1, 2), keepdims=True)
    de = attn_weights * (dattn_weights - mean)
    scaled = de / np.sqrt(A.shape[1])
    dprev_h = np.einsum("nij,nhij->nh", scaled, A)
    # A is read twice: by the sum and by the scores.
    dA = np.einsum("nij,nh->nhij", attn_weights, dattn) + np.einsum("nij,nh->nhij", scaled, prev_h)
    return dprev_h, dA


# All steps: x (N, T, D), Wx (D, 4 H), Wh and Wattn (H, 4 H), b (4 H,) -> h (N, T, H).


def attention_forward(x, A, Wx, Wh, Wattn, b):
    prev_h = prev_c = A.mean(axis=(2, 3))
    h, W, caches = np.zeros((*x.shape[:2], len(Wh))), np.concatenate([Wx, Wattn]), []
    for t in range(x.shape[1]):
        attn, _, attn_cache = dot_product_attention_forward(prev_h, A)
        # a = x Wx + attn Wattn + prev_h Wh + b is the a of an LSTM that reads x and attn.
        both = np.concatenate([x[:, t], attn], axis=1)
        prev_h, prev_c, cache = lstm_step_forward(both, prev_h, prev_c, W, Wh, b)
        h[:, t] = prev_h
        caches.append((attn_cache, cache))
    return h, (x, A, W, Wh, b, caches)


def attention_backward(dh, cache):
    x, A, W, Wh, b, caches = cache
    dx, dA, dW, dWh, db = (np.zeros_like(a) for a in (x, A, W, Wh, b))
    dprev_h = dprev_c = np.zeros_like(dh[:, 0])
    D = x.shape[2]
    for t in reversed(range(dh.shape[1])):
        attn_cache, cache = caches[t]
        dboth, dprev_h, dprev_c, dW_t, dWh_t, db_t = lstm_step_backward(dh[:, t] + dprev_h, dprev_c, cache)
        dx[:, t], dattn = dboth[:, :D], dboth[:, D:]
        # The attention reads prev_h as well.
        dquery, dA_t = dot_product_attention_backward(dattn, 0, attn_cache)
        dprev_h = dprev_h + dquery
        dA += dA_t
        dW += dW_t
        dWh += dWh_t
        db += db_t
    # h0 and c0 are the mean of the regions.
    dA += (dprev_h + dprev_c)[..., None, None] / A[0, 0].size
    return dx, dA, dW[:D], dWh, dW[D:], db


# A layer of a transformer decoder: tgt (N, T, E), memory (N, L, E), with T words, L rows and E columns.


def layernorm_forward(x, gamma, beta, ln_param):  # x (..., D)
    eps = ln_param.get("eps", 1e-5)
    mean = x.mean(axis=-1, keepdims=True)
    std = np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    normed = (x - mean) / std
    return gamma * normed + beta, (normed, std, gamma)


def layernorm_backward(dout, cache):
    normed, std, gamma = cache
    axes = tuple(range(dout.ndim - 1))  # all but the last
    d = dout * gamma  # dx̂
    # Each element of a row affects the mean and the variance of the row; all rows share gamma and beta.
    dx = (d - d.mean(-1, keepdims=True) - normed * (d * normed).mean(-1, keepdims=True)) / std
    return dx, (dout * normed).sum(axes), dout.sum(axes)


def split(a, heads):
    """(N, T, E) -> (N, heads, T, E / heads)."""
    return a.reshape(*a.shape[:2], heads, -1).swapaxes(1, 2)


def join(a):
    """(N, heads, T, E / heads) -> (N, T, E)."""
    return a.swapaxes(1, 2).reshape(a.shape[0], a.shape[2], -1)


def multi_head_attention_forward(query, key, value, params, num_heads, attn_mask=None):
    # query (N, T, E), key and value (N, L, E); e and attn_weights (N, heads, T, L), out (N, T, E)
    inputs = {"q": query, "k": key, "v": value}
    q, k, v = (split(x @ params["W" + i] + params["b" + i], num_heads) for i, x in inputs.items())
    e = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1])
    if attn_mask is not None:
        e = np.where(attn_mask, e, -np.inf)
    exps = np.exp(e - e.max(axis=-1, keepdims=True))
    attn_weights = exps / exps.sum(axis=-1, keepdims=True)
    attn = join(attn_weights @ v)
    return attn @ params["Wo"] + params["bo"], (inputs, q, k, v, attn_weights, attn, params, num_heads)


def multi_head_attention_backward(dout, cache):
    inputs, q, k, v, attn_weights, attn, params, heads = cache
    grads = {"Wo": np.einsum("nti,ntj->ij", attn, dout), "bo": dout.sum(axis=(0, 1))}
    dattn = split(dout @ params["Wo"].T, heads)
    dattn_weights = dattn @ v.swapaxes(2, 3)
    de = attn_weights * (dattn_weights - (attn_weights * dattn_weights).sum(axis=-1, keepdims=True))
    scaled = de / np.sqrt(q.shape[-1])
    projected = {"q": scaled @ k, "k": scaled.swapaxes(2, 3) @ q, "v": attn_weights.swapaxes(2, 3) @ dattn}
    dinputs = []
    for i, d in projected.items():
        d = join(d)
        grads["W" + i], grads["b" + i] = np.einsum("nti,ntj->ij", inputs[i], d), d.sum(axis=(0, 1))
        dinputs.append(d @ params["W" + i].T)
    return (*dinputs, grads)


def part(params, prefix):
    """The parameters whose names begin with a prefix, without it."""
    return {k[len(prefix) :]: w for k, w in params.items() if k.startswith(prefix)}


def decoder_layer_forward(tgt, memory, params, num_heads, tgt_mask=None):
    # Three times norm(x + f(x)): self-attention, attention to the memory, feed-forward.
    out, own = multi_head_attention_forward(tgt, tgt, tgt, part(params, "self_"), num_heads, tgt_mask)
    x, norm1 = layernorm_forward(tgt + out, params["gamma1"], params["beta1"], {})
    out, cross = multi_head_attention_forward(x, memory, memory, part(params, "cross_"), num_heads)
    x, norm2 = layernorm_forward(x + out, params["gamma2"], params["beta2"], {})
    a = np.maximum(0, x @ params["W1"] + params["b1"])
    out, norm3 = layernorm_forward(x + a @ params["W2"] + params["b2"], params["gamma3"], params["beta3"], {})
    return out, (own, norm1, cross, norm2, x, a, params, norm3)


def decoder_layer_backward(dout, cache):
    own, norm1, cross, norm2, x, a, params, norm3 = cache
    grads = {}
    # The gradient of x + f(x) is passed on to x and to f.
    dx, grads["gamma3"], grads["beta3"] = layernorm_backward(dout, norm3)
    da = (dx @ params["W2"].T) * (a > 0)
    grads["W2"], grads["b2"] = np.einsum("nti,ntj->ij", a, dx), dx.sum(axis=(0, 1))
    grads["W1"], grads["b1"] = np.einsum("nti,ntj->ij", x, da), da.sum(axis=(0, 1))
    dx, grads["gamma2"], grads["beta2"] = layernorm_backward(dx + da @ params["W1"].T, norm2)
    dquery, dkey, dvalue, of_cross = multi_head_attention_backward(dx, cross)
    # The memory is key and value; the words are query, key and value of the self-attention.
    dmemory = dkey + dvalue
    dx, grads["gamma1"], grads["beta1"] = layernorm_backward(dx + dquery, norm1)
    dquery, dkey, dvalue, of_own = multi_head_attention_backward(dx, own)
    grads.update({"self_" + k: g for k, g in of_own.items()}, **{"cross_" + k: g for k, g in of_cross.items()})
    return dx + dquery + dkey + dvalue, dmemory, grads
