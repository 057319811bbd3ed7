"""The grader of a student's file: planted mistakes are found, and correct code of other styles passes."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioner import cs231n
from captioner.teaching.function_checks import SIGNATURES, Exercises, check_functions

USUAL = Exercises(vars(cs231n))
RIGHT = (Path(__file__).parents[2] / "docs" / "course" / "plain.py").read_text()
RIGHT += """
def affine_forward(x, w, b):
    rows = x.reshape(len(x), -1)
    out = rows @ w + b
    return out, (x, w)
def affine_backward(dout, cache):
    x, w = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout, dout.sum(axis=0)
def temporal_affine_forward(x, w, b):
    return x @ w + b, (x, w)
def temporal_affine_backward(dout, cache):
    x, w = cache
    return dout @ w.T, np.tensordot(x, dout, ([0, 1], [0, 1])), dout.sum(axis=(0, 1))
def word_embedding_forward(x, W):
    return W[x], (x, W.shape)
def word_embedding_backward(dout, cache):
    x, shape = cache
    dW = np.zeros(shape)
    np.add.at(dW, x, dout)
    return dW
def temporal_softmax_loss(x, y, mask, verbose=False):
    N, T, V = x.shape
    scores = x - x.max(axis=2, keepdims=True)
    p = np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True)
    n, t = np.indices(y.shape)
    loss = -(mask * np.log(p[n, t, y])).sum() / N
    dx = p.copy()
    dx[n, t, y] -= 1
    return loss, dx * mask[..., None] / N
"""
# the rule, the functions that must fail (f: forward, b: backward), and texts of RIGHT with what replaces them, or after
# > a change of the arguments
FAULTS = r"""
# values and shapes
columns in another order | affine_f | x.reshape(len(x), -1)\n | x.reshape(len(x), -1, order="F")\n
an axis dropped for one row | affine_f | return out, (x, w) | return out.squeeze(), (x, w)
flat for three axes alone | affine_f | x.reshape(len(x), -1)\n | x.reshape(len(x), *[-1] * (x.ndim == 3), *x.shape[1:] * (x.ndim != 3))\n
no sum over the batch | affine_b | dout.sum(axis=0) | dout[0]
no sum over time | temporal_affine_b | @ w.T, np.tensordot(x, dout, ([0, 1], [0, 1])), dout.sum(axis=(0, 1)) | @ w.T, x[0].T @ dout[0], dout[0].sum(0)
words that occur twice in a caption | word_embedding_b |     np.add.at(dW, x, dout) |     for i, d in zip(x, dout): dW[i] += d
last word, values | word_embedding_f | W[x], | W[np.minimum(x, len(W) - 2)],
last word, gradient | word_embedding_b | return dW | return dW * (np.arange(len(dW)) < len(dW) - 1)[:, None]
mean over the batch | rnn_step_b rnn_b | db = da.sum(axis=0) | db = da.mean(axis=0)
derivative of tanh | rnn_step_b rnn_b | (1 - next_h**2) | (1 - next_h)
wrong sign | lstm_step_b lstm_b | da_f = dc * prev_c | da_f = -dc * prev_c
gradient of c ignored | lstm_step_b lstm_b | dc = dnext_c + dnext_h | dc = dnext_h
gates of a fixed size | lstm_step_f lstm_f | x @ Wx + prev_h @ Wh + b, 4, axis=-1 | x @ Wx + prev_h @ Wh + b, [3, 6, 9], axis=-1
gates in another order | lstm_step_f lstm_f | a_i, a_f, a_o, a_g = | a_i, a_o, a_f, a_g =
h0 as c0 | lstm_f | h0, np.zeros_like(h0) | h0, h0
h0 ignored | rnn_f | len(Wh))), h0, [] | len(Wh))), 0 * h0, []
= for += over time | rnn_b lstm_b |         dWh += dWh_t |         dWh = dWh_t
no gradient from the next step | rnn_b | (dh[:, t] + dprev_h, caches | (dh[:, t], caches
mean over N T | loss | .sum() / N\n | .sum() / (N * T)\n
mean over the words | loss | .sum() / N\n | .sum() / mask.sum()\n
mask of the loss ignored | loss | -(mask * np | -(np
mask of dx ignored | loss | dx * mask[..., None] / N | dx / N
ids for the mask | loss |     N, T, V = x.shape\n |     N, T, V = x.shape\n    mask = y > 0\n
added to the probability | loss | np.log(p[n, t, y]) | np.log(p[n, t, y] + 1e-7)
maximum of all scores | loss | x - x.max(axis=2, keepdims=True) | x - x.max()
maximum of a caption | loss | x - x.max(axis=2, keepdims=True) | x - x.max(axis=(1, 2), keepdims=True)
other axis | layernorm_f | mean = x.mean(axis=-1 | mean = x.mean(axis=0
width of one size | layernorm_f | mean = x.mean(axis=-1, keepdims=True) | mean = x.sum(axis=-1, keepdims=True) / 6
eps of ln_param ignored | layernorm_f | ln_param.get("eps", 1e-5) | 1e-5
eps outside the root | layernorm_f | keepdims=True) + eps) | keepdims=True)) + eps
unbiased variance | layernorm_f | x.var(axis=-1, | x.var(axis=-1, ddof=1,
sum over the first axis alone | layernorm_b | axes = tuple(range(dout.ndim - 1)) | axes = 0
gradient of the mean missing | layernorm_b | d - d.mean(-1, keepdims=True) - | d -
other columns of a head | mha_f | heads, -1).swapaxes(1, 2) | -1, heads).transpose(0, 3, 1, 2)
always 3 heads | mha_f |     inputs = {"q": query |     num_heads = 3\n    inputs = {"q": query
scale of one width | mha_f | swapaxes(2, 3) / np.sqrt(q.shape[-1])\n    if | swapaxes(2, 3) / np.sqrt(6 / num_heads)\n    if
length of the batch | mha_f |     exps = np.exp(e |     e = e + 0 * np.zeros(len(key))\n    exps = np.exp(e
scale of the gradient missing | mha_b | / np.sqrt(q.shape[-1])\n    projected | \n    projected
mask ignored | mha_f | if attn_mask is not None: | if False:
mask inverted | mha_f | np.where(attn_mask, e | np.where(~attn_mask, e
causal for any mask | mha_f | np.where(attn_mask, e | np.where(np.tri(*attn_mask.shape) > 0, e
causal for any mask of the decoder | decoder_layer_f |     out, own = |     if tgt_mask is not None: tgt_mask = np.tri(tgt.shape[1]) > 0\n    out, own =
other heads for a mask | decoder_layer_f | "cross_"), num_heads) | "cross_"), 3 if tgt_mask is None else 2)
attn_mask required | mha_f | num_heads, attn_mask=None): | num_heads, attn_mask):
no maximum of the scores of regions | dot_product_attention_f attention_f | np.exp(e - e.max(axis=(1, 2), keepdims=True)) | np.exp(e)
no maximum of the scores of keys | mha_f | np.exp(e - e.max(axis=-1, keepdims=True)) | np.exp(e)
maximum of all scores of keys | mha_f | e.max(axis=-1, keepdims=True) | e.max()
0 for -inf | mha_f | e, -np.inf) | e, 0)
dropout | decoder_layer_f |     a = np.maximum(0, x |     x = x * (np.random.random(x.shape) > 0.1)\n    a = np.maximum(0, x
softmax of each row of regions | dot_product_attention_f attention_f | exps.sum(axis=(1, 2), | exps.sum(axis=2,
scores without a scale | dot_product_attention_f attention_f | A) / np.sqrt(A.shape[1])\n    e | A)\n    e
gradient of the weights ignored | dot_product_attention_b | dattn_weights + np | 0 * dattn_weights + np
A read by the sum alone | dot_product_attention_b attention_b | dattn) + np.einsum("nij,nh->nhij", scaled, prev_h) | dattn)
state of zeros | attention_f | A.mean(axis=(2, 3)) | np.zeros(A.shape[:2])
no gradient of the query | attention_b | dprev_h + dquery | dprev_h
regions of the first step | attention_b | dA += dA_t | dA = dA_t
no gradient of the first state | attention_b | (dprev_h + dprev_c)[ | (0 * dprev_h + dprev_c)[
# arguments that change
integers | word_embedding_f | > args[0][:] = 0
ids | loss | > args[1][args[2] == 0] = 7
mask | loss | > args[2][:] = False
attn_mask | mha_f | > args[5] is None or args[5].fill(True)
tgt_mask | decoder_layer_f | > args[4] is None or args[4].fill(False)
float array | affine_f | > args[2][:] = 0
shape of an array | affine_f |     rows = x.reshape(len(x), -1)\n |     x.shape = (len(x), -1)\n    rows = x\n
params, an entry more | mha_f | > args[3]["scale"] = 1.0
ln_param | layernorm_f | > args[3]["mode"] = "train"
dout | temporal_affine_b | > args[0][:] = 0
input in the cache | affine_b | > args[1][0][:] = 0
output in the cache | rnn_step_b | > args[1][4][:] = 0
# types
float32 output | affine_f | return out, | return out.astype(np.float32),
float32 inside | rnn_step_f rnn_f | a = x @ Wx + prev_h @ Wh + b\n    next_h | a = x.astype("f") @ Wx + prev_h @ Wh + b\n    next_h
float32 gradient | affine_b | dout.sum(axis=0) | dout.sum(axis=0, dtype="f")
complex output | layernorm_f | return gamma * normed + beta | return gamma * normed + beta + 0j
complex loss | loss | return loss, | return loss + 1j,
list | affine_f | return out, | return out.tolist(),
"""  # noqa: E501
ROWS = {row.split(" | ")[0]: row.split(" | ")[1:] for row in FAULTS.strip().splitlines() if row[0] != "#"}
SHORT = {"_f": "_forward", "_b": "_backward", "mha": "multi_head_attention", "^loss$": "temporal_softmax_loss"}


def edits(replacements: list[str], name: str) -> str:
    """Return RIGHT after replacements, or with a change of arguments after a call of the function `name`."""
    text, code = RIGHT, replacements[0]
    if code[0] == ">":
        return f"{text}\nright = {name}\ndef {name}(*args):\n    result = right(*args); {code[2:]}; return result\n"
    for old, new in zip(replacements[::2], replacements[1::2], strict=True):
        assert old.replace("\\n", "\n") in text, old
        text = text.replace(old.replace("\\n", "\n"), new.replace("\\n", "\n"))
    return text


def problems(text: str, names: list[str]) -> dict[str, str]:
    """Check the functions of a text that belong to these: the problem of each, or ""."""
    module: dict[str, Any] = {}
    with np.errstate():
        exec(text, module)
    layers = {re.sub("_(forward|backward)$", "", name) for name in names}
    chosen = {name: module[name] for layer in layers for name in USUAL.pair(layer)}
    return {result.name: result.problem for result in check_functions(chosen, USUAL)}


@pytest.mark.parametrize("rule", ROWS)
def test_a_planted_fault_fails(rule: str) -> None:
    names, *replacements = ROWS[rule]
    for short, long in SHORT.items():
        names = re.sub(rf"{short}\b" if short[0] == "_" else short, long, names)
    found = problems(edits(replacements, names), names.split())
    failed = {name for name in found if found[name]}
    # a gradient is that of the file's forward function: if this is wrong, the gradient may be either
    free = {name.replace("forward", "backward") for name in failed if "forward" in name} - {*names.split()}
    assert failed - free == {*names.split()}, found
    assert replacements[0][:2] != "> " or found[names].startswith("modifies its argument "), found


STYLES = """
## loops: temporal_softmax_loss
def temporal_softmax_loss(x, y, mask, verbose=False):
    loss, dx = 0, np.zeros_like(x)
    for n, t in np.argwhere(mask):
        e = np.exp(x[n, t] - np.max(x[n, t]))
        dx[n, t] = e / e.sum() / len(x)
        dx[n, t, y[n, t]] -= 1 / len(x)
        loss += -np.log(e[y[n, t]] / e.sum()) / len(x)
    return float(loss), dx
## einsum, lists for tuples, an entry more in the cache: temporal_affine
def temporal_affine_forward(x, w, b): return [np.einsum("ntd,dm->ntm", x, w, optimize=True) + b, dict(x=x, w=w)]
def temporal_affine_backward(dout, c):
    return [c.setdefault("dx", np.einsum("ntm,dm->ntd", dout, c["w"])), np.einsum("ntd,ntm->dm", c["x"], dout), np.einsum("ntm->m", dout)]
## partial, named tuple: rnn_step
import collections, functools
Cache = collections.namedtuple("Cache", "x h0 Wx Wh h")
def step(f, x, h0, Wx, Wh, b): h = f(x.dot(Wx) + h0.dot(Wh) + b); return h, Cache(x, h0, Wx, Wh, h)
def back(dh, c): da = dh - dh * c.h**2; return da.dot(c.Wx.T), da.dot(c.Wh.T), c.x.T.dot(da), c.h0.T.dot(da), da.sum(0)
rnn_step_forward, rnn_step_backward = functools.partial(step, np.tanh), back
## a popped stack: rnn
def rnn_forward(x, h0, Wx, Wh, b):
    hs, stack = [h0], []
    for xt in x.swapaxes(0, 1): h, cache = rnn_step_forward(xt, hs[-1], Wx, Wh, b); hs.append(h), stack.append(cache)
    return np.stack(hs[1:], 1), (stack, x.shape)
def rnn_backward(dh, cache):
    stack, dx, grads, d = cache[0], [], [0.0] * 3, 0.
    while stack:
        dxt, d, *parts = rnn_step_backward(dh[:, len(stack) - 1] + d, stack.pop())
        dx.insert(0, dxt); grads = [g + p for g, p in zip(grads, parts)]
    return np.swapaxes(dx, 0, 1), d, *grads
## flat arrays, a loss of shape (): temporal_softmax_loss
def temporal_softmax_loss(x, y, mask, verbose=False):
    flat, ids, m = x.reshape(-1, x.shape[2]), y.reshape(-1), mask.reshape(-1).astype(float)
    logsum = flat.max(1) + np.log(np.exp(flat - flat.max(1)[:, None]).sum(1))
    dx = np.exp(flat - logsum[:, None]); dx[np.arange(len(ids)), ids] -= 1.; dx *= m[:, None]
    return np.array((m * (logsum - flat[range(len(ids)), ids])).sum() / len(x)), (dx / len(x)).reshape(x.shape)
## columns for rows, in place in the cache: layernorm
def layernorm_forward(x, gamma, beta, ln_param):
    columns = x.reshape(-1, len(gamma)).T
    xmu = columns - np.mean(columns, axis=0)
    ivar = 1. / np.sqrt(np.mean(xmu ** 2, axis=0) + ln_param.get("eps", 1e-5))
    return ((xmu * ivar).T * gamma + beta).reshape(x.shape), ((xmu * ivar).T, gamma, ivar)
def layernorm_backward(dout, cache):
    (hat, gamma, ivar), shape, dout = cache, dout.shape, dout.reshape(-1, dout.shape[-1])
    D, dhat = dout.shape[1], (dout * gamma).T
    ivar /= D; dx = ivar * (D * dhat - dhat.sum(0) - hat.T * (dhat * hat.T).sum(0))
    return dx.T.reshape(shape), np.sum(dout * hat, axis=0), np.sum(dout, axis=0)
## own dicts: multi_head_attention
import collections
right, back = multi_head_attention_forward, multi_head_attention_backward
def multi_head_attention_forward(query, key, value, params, *args): return right(query, key, value, {**params, 0: 0}, *args)
def multi_head_attention_backward(dout, cache): *d, g = back(1 * dout, cache); return *d, collections.defaultdict(float, g, s=0)
"""  # noqa: E501


@pytest.mark.parametrize("style", ["as above: " + " ".join(SIGNATURES), *STYLES.split("## ")[1:]])
def test_correct_code_passes(style: str) -> None:
    title, _, code = style.partition("\n")
    layers = title.partition(": ")[2].split()
    found = problems(RIGHT + code, [name for layer in layers for name in USUAL.pair(layer)])
    assert not any(found.values()), found


def test_a_gradient_that_is_right_along_the_direction_of_a_quick_check_fails() -> None:
    """Its elements are wrong: a forward derivative along each direction is enough to compute it."""

    def rnn_step_backward(*arguments: Any) -> list[np.ndarray]:
        rng = np.random.default_rng(1)
        directions = [(rng.standard_normal(g.shape), g) for g in cs231n.rnn_step_backward(*arguments)]
        return [v * np.vdot(g, v) / np.vdot(v, v) for v, g in directions]

    functions = {"rnn_step_forward": cs231n.rnn_step_forward, "rnn_step_backward": rnn_step_backward}
    first, second = check_functions(functions, USUAL)
    assert not first.problem
    assert "dx (4, 2)" in second.problem
