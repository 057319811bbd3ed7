"""Hints of the grader: the first words about a wrong function name the mistake that is planted, or nothing."""

import re

import numpy as np
import pytest

from tests.teaching.test_function_checks import SHORT, edits, problems

# the function, the first words of its problem, and texts of RIGHT with what replaces them
STEP = r"dWx = x.T @ da\n    dWh = prev_h.T @ da\n    db = da.sum(axis=0)\n"
MISTAKES = rf"""
# one step
rnn_step_f | b seems to be ignored; | prev_h @ Wh + b\n    next_h | prev_h @ Wh\n    next_h
rnn_step_f | Wh.T is used instead of Wh; | prev_h @ Wh + b\n    next_h | prev_h @ Wh.T + b\n    next_h
rnn_step_f | has the shape of its transpose; next_h: expected | return next_h, (x | return next_h.T, (x
rnn_step_f | the error is small: is a part in float32 | np.tanh(a) | np.tanh(a.astype("f")).astype("d")
rnn_step_f | next_h: sigmoid is used instead of tanh(a); | next_h = np.tanh(a) | next_h = 1 / (1 + np.exp(-a))
rnn_step_f | next_h: max(0, a) is used instead of tanh(a); | next_h = np.tanh(a) | next_h = np.maximum(0, a)
rnn_step_f | next_h: a itself is used instead of tanh(a); | next_h = np.tanh(a) | next_h = a
lstm_step_f | next_h, next_c: sigmoid is used for g; | np.tanh(a_g) | sigmoid(a_g)
lstm_step_f | next_h: tanh is used for o; | sigmoid(a_o) | np.tanh(a_o)
lstm_step_f | next_h: tanh of next_c is missing; | next_h = o * np.tanh(next_c) | next_h = o * next_c
rnn_step_f | differs from | next_h = np.tanh(a) | next_h = a**2 if b.all() and Wh.all() else 1 / 0
rnn_step_b | all wrong gradients contain da: da: 1 - next_h**2 is missing; | dnext_h * (1 - next_h**2) | dnext_h
rnn_step_b | all wrong gradients contain da: fix da first; | (1 - next_h**2) | next_h * (1 - next_h)
rnn_step_b | dprev_h: Wh is used instead of Wh.T; | {STEP}    return dx, dprev_h, dWx | {STEP}    return dx, da @ Wh, dWx
rnn_step_b | is a transpose missing? Wx.T (3, 2) would fit; raised | {STEP}    return dx, dprev_h, dWx | {STEP}    return da @ Wx, dprev_h, dWx
rnn_step_b | is a transpose missing? x.T (2, 4) would fit; raised | {STEP}    return dx, dprev_h, dWx, dWh, db | {STEP}    return dx, dprev_h, x @ da, dWh, db
rnn_step_b | dWh: is transposed; | {STEP}    return dx, dprev_h, dWx, dWh | {STEP}    return dx, dprev_h, dWx, dWh.T
rnn_step_b | has the shape of dWh; dWx: expected the shape | {STEP}    return dx, dprev_h, dWx, dWh | {STEP}    return dx, dprev_h, dWh, dWx
rnn_step_b | sum over all axes but the last, without keepdims; db: expected | {STEP}    return dx, dprev_h, dWx, dWh, db | {STEP}    return dx, dprev_h, dWx, dWh, da.sum(1)
rnn_step_b | sum over all axes but the last, without keepdims; db: expected | {STEP}    return dx, dprev_h, dWx, dWh, db | {STEP}    return dx, dprev_h, dWx, dWh, db[None]
lstm_step_f | the gate order is i, o, f, g; expected i, f, o, g; | a_i, a_f, a_o, a_g = | a_i, a_o, a_f, a_g =
lstm_step_f | the gate order is f, g, i, o; expected i, f, o, g; | a_i, a_f, a_o, a_g = | a_f, a_g, a_i, a_o = | [da_i, da_f, da_o, da_g] | [da_f, da_g, da_i, da_o]
lstm_step_f | next_h: has the values of next_c; next_c: has the values of next_h; | return next_h, next_c | return next_c, next_h
lstm_step_f | correct only if prev_c = 0; | f * prev_c + i | prev_c + i
lstm_step_b | all wrong gradients contain da: fix da_i first; | g * i * (1 - i) | g
lstm_step_b | all wrong gradients contain da: fix da_i, da_f, da_g first; | da_i = dc | da_i = 2 * dc * dc | da_f = dc | da_f = dnext_c | da_g = dc | da_g = dnext_c
lstm_step_b | all wrong gradients contain da: fix dc, which is in da_i, da_f, da_g first; | dnext_h * o * (1 - np.tanh(next_c) ** 2) | dnext_h * o
lstm_step_b | all wrong gradients contain da: da_o: has the values of da_g; da_g: has the values of da_o; | da_o, da_g] | da_g, da_o]
lstm_step_b | all wrong gradients contain da: da_f: -1 times the right value; | da_f = dc | da_f = -dc
lstm_step_b | dnext_c seems to be ignored; | dc = dnext_c + | dc =
# all steps
rnn_f | h0 seems to be ignored; | len(Wh))), h0, [] | len(Wh))), 0 * h0, []
rnn_f | h: each step starts from h0; | rnn_step_forward(x[:, t], prev_h | rnn_step_forward(x[:, t], h0
rnn_f | correct only if Wh = 0; | rnn_step_forward(x[:, t], prev_h | rnn_step_forward(x[:, t], 2 * prev_h
rnn_f | step t reads x[:, t - 1]; | rnn_step_forward(x[:, t], | rnn_step_forward(x[:, t - 1],
rnn_f | step t reads x[:, t - 1]; | rnn_step_forward(x[:, t], | rnn_step_forward(x[:, t - 1] * (t > 0),
rnn_f | step t reads x[:, t + 1]; | rnn_step_forward(x[:, t], | rnn_step_forward(x[:, (t + 1) % x.shape[1]],
rnn_f | step t reads x[:, t + 1]; | rnn_step_forward(x[:, t], | rnn_step_forward(x[:, min(t + 1, x.shape[1] - 1)],
rnn_f | step t reads x[:, t + 1]; | rnn_step_forward(x[:, t], | rnn_step_forward((x[:, t + 1] if t + 1 < x.shape[1] else 0 * x[:, 0]),
lstm_f | h: each step starts from h0; | lstm_step_forward(x[:, t], prev_h, prev_c | lstm_step_forward(x[:, t], h0, 0 * h0
lstm_f | h: each step starts with c = 0; | lstm_step_forward(x[:, t], prev_h, prev_c | lstm_step_forward(x[:, t], prev_h, 0 * h0
rnn_b | dx is right at the last step only: is dprev_h of the next step right, and added to dh[:, t]?; | (dh[:, t] + dprev_h, caches | (dh[:, t], caches
rnn_b | dWh: the gradient of x[:, 0] alone: is it added to those of the other steps (+=)?; | dWh += dWh_t | dWh = dWh_t
rnn_b | dx is right at the last step only: is dprev_h of the next step right, and added to dh[:, t]?; | (dh[:, t] + dprev_h, caches | ((t == 4) * dh[:, t] + dprev_h, caches
rnn_b | dx is wrong at the last step, too: is one step right, and does the loop start there, with zeros?; | for t in reversed(range(dh.shape[1])):\n        # h_t | for t in range(dh.shape[1]):\n        # h_t
rnn_b | dx[:, t] is wrong for t in [0, 1, 2] of 5 steps; | (dh[:, t] + dprev_h, caches | ((t > 2) * dh[:, t] + dprev_h, caches
rnn_b | dx[:, t] is 0 for t in [0] of 5 steps; | for t in reversed(range(dh.shape[1])):\n        # h_t | for t in reversed(range(1, dh.shape[1])):\n        # h_t
rnn_b | fix rnn_step_backward first | db = da.sum(axis=0) | db = da.mean(axis=0)
lstm_b | dx is right at the last step only: is dprev_h of the next step added to dh[:, t]?; | (dh[:, t] + dprev_h, dprev_c | (dh[:, t], dprev_c
lstm_b | dx is right at the last step only: is dprev_c of the next step passed on as dnext_c?; | (dh[:, t] + dprev_h, dprev_c | (dh[:, t] + dprev_h, 0 * dprev_c
lstm_b | dx is right at the last step only: is dprev_h of the next step right, and added to dh[:, t], and dprev_c passed on as dnext_c?; | (dh[:, t] + dprev_h, dprev_c | (dh[:, t], 0 * dprev_c
attention_b | dx is wrong at the last step, too: is one step right, and does the loop start there, with zeros?; | dprev_h = dprev_c = np.zeros_like(dh[:, 0])\n    D | dprev_h, dprev_c = dh[:, -1], 0 * dh[:, 0]\n    D
attention_b | dWx: the gradient of x[:, 0] alone: | dW += dW_t | dW = dW_t
attention_b | dx is right at the last step only: is dprev_h of the next step (with that of the query of its attention) right, and added to dh[:, t], and dprev_c passed on as dnext_c?; | dprev_h + dquery | dprev_h
attention_b | dA: the error is the same for all regions: is the gradient of their mean, h0 and c0, right?; | dA += (dprev_h + dprev_c)[ | 0 * (dprev_h + dprev_c)[
# other layers
affine_b | db: 2 times the right value; | dout.sum(axis=0) | 2 * dout.sum(axis=0)
temporal_affine_b | db: 0.05 times the right value (1 / (N T)); | dout.sum(axis=(0, 1)) | dout.mean(axis=(0, 1))
word_embedding_b | dW: wrong only for words that occur again: np.add.at adds all; | np.add.at(dW, x, dout) | dW[x] += dout
word_embedding_b | differs from | return dW | return dW * (np.arange(len(dW)) < len(dW) - 1)[:, None]
loss | loss: 4 times the right value (N); | .sum() / N\n | .sum()\n
loss | loss: 0.3333 times the right value (N / number of words); | .sum() / N\n | .sum() / mask.sum()\n
loss | mask seems to be ignored; | -(mask * np | -(np
loss | loss: the log of a sum; expected the sum of logs; | -(mask * np.log(p[n, t, y])).sum() | -np.log((mask * p[n, t, y]).sum())
loss | dx: the mask is applied to the probabilities, but not to the 1 at the words y; | dx = p.copy() | dx = p * mask[..., None] | dx * mask[..., None] / N | dx / N
loss | dx: the mask is applied to the 1 at the words y, but not to the probabilities; | dx[n, t, y] -= 1 | dx[n, t, y] -= mask | dx * mask[..., None] / N | dx / N
loss | dx: each row must sum to 0: is 1 subtracted at the words y, | dx[n, t, y] -= 1 | pass
loss | loss: expected finite numbers, got NaN or infinity [scores near 1000: is the maximum of each row subtracted first?] | x - x.max(axis=2, keepdims=True) | x - x.max()
layernorm_f | ln_param seems to be ignored; | ln_param.get("eps", 1e-5) | 1e-5
layernorm_f | out: the variance is a sum; | x.var(axis=-1, keepdims=True) | 6 * x.var(axis=-1, keepdims=True)
layernorm_f | out: mean and variance are over axis 0; | x.var(axis=-1, keepdims=True) | x.var(axis=0) | x.mean(axis=-1, keepdims=True) | x.mean(axis=0)
layernorm_b | gamma seems to be ignored; | d = dout * gamma | d = dout
layernorm_b | dx: each row must sum to 0: is the gradient of the mean right? | d - d.mean(-1, keepdims=True) - | d -
layernorm_b | dx: each row must sum to 0: is the gradient of the mean right? | (d - d.mean(-1, keepdims=True) - normed * (d * normed).mean(-1, keepdims=True)) | d
layernorm_b | dx: Σ (x - mean) dx of each row must be 0: is the gradient of the variance right? | - normed * (d * normed).mean(-1, keepdims=True)) | )
layernorm_b | dx: is divided by std twice; | keepdims=True)) / std\n | keepdims=True)) / std**2\n
layernorm_b | sum over all axes but the last, without keepdims; dgamma: expected | axes = tuple(range(dout.ndim - 1)) | axes = 0
dot_product_attention_f | scores are 1.732 times as large (sqrt(H)); | A) / np.sqrt(A.shape[1])\n    e | A)\n    e
dot_product_attention_f | attn_weights: must sum to 1 over all regions of a caption; | exps.sum(axis=(1, 2), | exps.sum(axis=2,
dot_product_attention_b | dprev_h: 1.732 times the right value (sqrt(H)); | scaled = de / np.sqrt(A.shape[1]) | scaled = de
dot_product_attention_b | is each score's gradient weight * (dweight - Σ weights * dweights)? | (dattn_weights - mean) | dattn_weights
dot_product_attention_b | dA: is transposed; | return dprev_h, dA\n | return dprev_h, dA.swapaxes(2, 3)\n
dot_product_attention_b | dattn_weights seems to be ignored; | dattn_weights + np | 0 * dattn_weights + np
mha_f | scores are 1.414 times as large (sqrt(E / num_heads)); | / np.sqrt(q.shape[-1])\n    if | \n    if
mha_f | scores are 0.5774 times as large (1 / sqrt(num_heads)); | / np.sqrt(q.shape[-1])\n    if | / np.sqrt(q.shape[-1] * q.shape[1])\n    if
mha_f | ~attn_mask is used: True is for what is allowed; | np.where(attn_mask, e | np.where(~attn_mask, e
mha_f | key and value are interchanged; | "k": key, "v": value | "k": value, "v": key
mha_f | correct only if num_heads = 1: are they split | heads, -1).swapaxes(1, 2) | -1, heads).transpose(0, 3, 1, 2)
mha_b | is each score's gradient weight * (dweight - Σ weights * dweights)? | dattn_weights - (attn_weights * dattn_weights).sum(axis=-1, keepdims=True) | dattn_weights
mha_b | dkey: has the values of dvalue; dvalue: has the values of dkey; | return (*dinputs, grads) | return (dinputs[0], dinputs[2], dinputs[1], grads)
decoder_layer_b | fix layernorm_backward first | d - d.mean(-1, keepdims=True) - | d -
"""  # noqa: E501
ROWS = [row.split(" | ") for row in MISTAKES.strip().splitlines() if row[0] != "#"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:2]))
def test_the_first_words_name_the_mistake(row: list[str]) -> None:
    name, hint, *replacements = row
    for short, long in SHORT.items():
        name = re.sub(rf"{short}\b" if short[0] == "_" else short, long, name)
    names = [name, "layernorm_backward", "rnn_step_backward"] if hint.startswith("fix ") else [name]
    with np.errstate(all="ignore"):
        assert problems(edits(replacements, name), names)[name].startswith(hint)


def test_a_mistake_with_one_row_alone_is_not_one_of_the_loop() -> None:
    own = edits(["* (1 - next_h**2)", "* (1 - next_h**2) * (x[0, 0] if len(x) == 1 else 1)"], "")
    assert problems(own.replace("rnn_step_", "own_"), ["rnn_backward"])["rnn_backward"].startswith(
        "dx is wrong at the last step"
    )


def test_a_function_that_does_not_use_a_wrong_inner_one_passes() -> None:
    own = edits(["= rnn_step_backward(dh", "= right_step(dh"], "") + "right_step = rnn_step_backward\n"
    own += "def rnn_step_backward(*arguments): return [2 * grad for grad in right_step(*arguments)]\n"
    found = problems(own, ["rnn_step_backward", "rnn_backward"])
    assert [name for name, problem in found.items() if problem] == ["rnn_step_backward"]
    assert found["rnn_step_backward"].startswith("all wrong gradients contain da: da: 2 times the right value; ")
