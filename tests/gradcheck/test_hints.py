"""Hints of the grader: the first words about a wrong function name the mistake that is planted, or nothing."""

import re

import numpy as np
import pytest

from tests.gradcheck.test_student_file import SHORT, edits, problems

# the function, the first words of its problem, and texts of RIGHT with what replaces them
STEP = r"dWx = x.T @ da\n    dWh = prev_h.T @ da\n    db = da.sum(axis=0)\n"
MISTAKES = rf"""
# one step
rnn_step_f | next_h: a in place of tanh(a); | next_h = np.tanh(a) | next_h = a
rnn_step_f | the result of b = 0: is b ignored?; | prev_h @ Wh + b\n    next_h | prev_h @ Wh\n    next_h
rnn_step_f | the result of Wh.T in place of Wh; | prev_h @ Wh + b\n    next_h | prev_h @ Wh.T + b\n    next_h
rnn_step_f | next_h: is transposed; | return next_h, (x | return next_h.T, (x
rnn_step_f | the error is small: is a part in float32 | np.tanh(a) | np.tanh(a.astype("f")).astype("d")
rnn_step_b | all gradients contain da, and all are wrong: da: 1 - next_h**2 is missing; | dnext_h * (1 - next_h**2) | dnext_h
rnn_step_b | all gradients contain da, and all are wrong: da: next_h * (1 - next_h) in place of 1 - next_h**2; | (1 - next_h**2) | next_h * (1 - next_h)
rnn_step_b | dprev_h: @ Wh in place of @ Wh.T; | {STEP}    return dx, dprev_h, dWx | {STEP}    return dx, da @ Wh, dWx
rnn_step_b | dx: @ Wx in place of @ Wx.T; raised ValueError | {STEP}    return dx, dprev_h, dWx | {STEP}    return da @ Wx, dprev_h, dWx
rnn_step_b | is a transpose missing? x.T (2, 4) would fit; raised | {STEP}    return dx, dprev_h, dWx, dWh, db | {STEP}    return dx, dprev_h, x @ da, dWh, db
rnn_step_b | dWh: dnext_h in place of da; | {STEP}    return dx, dprev_h, dWx, dWh | {STEP}    return dx, dprev_h, dWx, prev_h.T @ dnext_h
rnn_step_b | dWh: next_h in place of prev_h; | return next_h, (x, prev_h | return next_h, (x, next_h
rnn_step_b | dWh: is transposed; | {STEP}    return dx, dprev_h, dWx, dWh | {STEP}    return dx, dprev_h, dWx, dWh.T
rnn_step_b | dWx: has the values of dWh; dWh: has the values of dWx; dWx: expected the shape | {STEP}    return dx, dprev_h, dWx, dWh | {STEP}    return dx, dprev_h, dWh, dWx
rnn_step_b | sum over all axes but the last; db: expected | {STEP}    return dx, dprev_h, dWx, dWh, db | {STEP}    return dx, dprev_h, dWx, dWh, da.sum(1)
rnn_step_b | drop the axis of keepdims; db: expected | {STEP}    return dx, dprev_h, dWx, dWh, db | {STEP}    return dx, dprev_h, dWx, dWh, db[None]
rnn_step_b | first correct the forward function; differs | next_h = np.tanh(a) | next_h = a
lstm_step_f | the result of the gate order i, o, f, g; expected i, f, o, g; | a_i, a_f, a_o, a_g = | a_i, a_o, a_f, a_g =
lstm_step_f | the result of the gate order f, g, i, o; expected i, f, o, g; | a_i, a_f, a_o, a_g = | a_f, a_g, a_i, a_o = | [da_i, da_f, da_o, da_g] | [da_f, da_g, da_i, da_o]
lstm_step_f | next_c: sigmoid(a_g) in place of g; | np.tanh(a_g) | sigmoid(a_g)
lstm_step_f | next_h: has the values of next_c; next_c: has the values of next_h; | return next_h, next_c | return next_c, next_h
lstm_step_f | right if prev_c = 0; | f * prev_c + i | prev_c + i
lstm_step_b | all gradients contain da: da_i: i * (1 - i) is missing (dprev_c is right, so dc is); | g * i * (1 - i) | g
lstm_step_b | all gradients contain da: da_i, da_f, da_g, dprev_c: 1 - tanh(next_c)**2 is missing; | dnext_h * o * (1 - np.tanh(next_c) ** 2) | dnext_h * o
lstm_step_b | all gradients contain da: da_o: has the values of da_g; da_g: has the values of da_o (dprev_c | da_o, da_g] | da_g, da_o]
lstm_step_b | all gradients contain da: da_f: wrong sign (dprev_c | da_f = dc | da_f = -dc
lstm_step_b | the result of dnext_c = 0: is it ignored?; | dc = dnext_c + | dc =
lstm_step_b | dprev_c: f is missing; | dprev_c = dc * f | dprev_c = dc
# all steps
rnn_f | the result of h0 = 0: is h0 ignored?; | len(Wh))), h0, [] | len(Wh))), 0 * h0, []
rnn_f | right if there is one step (T = 1); | rnn_step_forward(x[:, t], prev_h | rnn_step_forward(x[:, t], h0
rnn_b | dx is right at the last step only: is the gradient of the step after it (dprev_h) added?; | (dh[:, t] + dprev_h, caches | (dh[:, t], caches
rnn_b | dWh: the gradient of x[:, 0] alone: is it added to those of the other steps (+=)?; | dWh += dWh_t | dWh = dWh_t
rnn_b | right if only the last step has an upstream gradient | (dh[:, t] + dprev_h, caches | ((t == 4) * dh[:, t] + dprev_h, caches
rnn_b | dx is wrong at the last step too: does the loop begin there | for t in reversed(range(dh.shape[1])):\n        # h_t | for t in range(dh.shape[1]):\n        # h_t
rnn_b | dx is wrong at x[:, 0], and right at the last step; | for t in reversed(range(dh.shape[1])):\n        # h_t | for t in reversed(range(1, dh.shape[1])):\n        # h_t
rnn_b | only dh0 is wrong: it is dprev_h after the last turn of the loop; | return dx, dprev_h, dWx, dWh, db\n\n\ndef lstm_forward | return dx, dh[:, 0], dWx, dWh, db\n\n\ndef lstm_forward
rnn_b | first correct rnn_step_backward | db = da.sum(axis=0) | db = da.mean(axis=0)
lstm_b | dx is right at the last step only: is the gradient of the step after it (dprev_h, dprev_c) added?; | (dh[:, t] + dprev_h, dprev_c | (dh[:, t], dprev_c
attention_b | dWx: the gradient of x[:, 0] alone: | dW += dW_t | dW = dW_t
# other layers
affine_b | db: contains only index 0 of N: sum over all; | dout.sum(axis=0) | dout[0]
affine_b | db: 2 times the right value; | dout.sum(axis=0) | 2 * dout.sum(axis=0)
temporal_affine_b | db: 0.05 times the right value (1 / (N T)); | dout.sum(axis=(0, 1)) | dout.mean(axis=(0, 1))
word_embedding_b | dW: wrong only for words that occur again: np.add.at adds all; | np.add.at(dW, x, dout) | dW[x] += dout
word_embedding_b | differs from | return dW | return dW * (np.arange(len(dW)) < len(dW) - 1)[:, None]
loss | loss: 4 times the right value (N); | .sum() / N\n | .sum()\n
loss | loss: 0.3333 times the right value (N / number of words); | .sum() / N\n | .sum() / mask.sum()\n
loss | the result of mask without False: is it ignored?; | -(mask * np | -(np
loss | dx: wrong only at the words y: is 1 subtracted | dx[n, t, y] -= 1 | pass
loss | dx is right, and so is the softmax: compare the line of the loss; | np.log(p | np.log2(p
loss | exp of a large score is infinite: subtract | x - x.max(axis=2, keepdims=True) | x - x.max()
layernorm_f | out: the mean and the variance are over axis 0 in place of -1; | mean(axis=-1, keepdims=True)\n    std = np.sqrt(x.var(axis=-1 | mean(axis=0, keepdims=True)\n    std = np.sqrt(x.var(axis=0
layernorm_f | the result of eps = 1e-5: is eps of ln_param ignored?; | ln_param.get("eps", 1e-5) | 1e-5
layernorm_f | out: each row has a wrong factor: | x.var(axis=-1, | x.var(axis=-1, ddof=1,
layernorm_b | the result of gamma = 1: is gamma ignored?; | d = dout * gamma | d = dout
layernorm_b | dx: wrong by one number per row: is it the mean | d - d.mean(-1, keepdims=True) - | d -
layernorm_b | dx: the paths of the mean and of the variance are wrong or missing; | (d - d.mean(-1, keepdims=True) - normed * (d * normed).mean(-1, keepdims=True)) | d
layernorm_b | sum over all axes but the last; dgamma: expected | axes = tuple(range(dout.ndim - 1)) | axes = 0
dot_product_attention_f | the result of scores 1.732 times as large (sqrt(H)); | A) / np.sqrt(A.shape[1])\n    e | A)\n    e
dot_product_attention_f | attn_weights of a caption must sum to 1 over all regions; they do over axis 2 alone; | exps.sum(axis=(1, 2), | exps.sum(axis=2,
dot_product_attention_b | dprev_h: 1.732 times the right value (sqrt(H)); | scaled = de / np.sqrt(A.shape[1]) | scaled = de
dot_product_attention_b | dprev_h: in the gradient of the softmax, each weight depends | (dattn_weights - mean) | dattn_weights
dot_product_attention_b | dA: is transposed; | return dprev_h, dA\n | return dprev_h, dA.swapaxes(2, 3)\n
dot_product_attention_b | the result of dattn_weights = 0: is it ignored?; | dattn_weights + np | 0 * dattn_weights + np
mha_f | the result of scores 1.414 times as large (sqrt(E / num_heads)); | / np.sqrt(q.shape[-1])\n    if | \n    if
mha_f | the result of ~attn_mask: True is for what is allowed; | np.where(attn_mask, e | np.where(~attn_mask, e
mha_f | the result of key and value interchanged; | "k": key, "v": value | "k": value, "v": key
mha_f | right if num_heads is 1; | heads, -1).swapaxes(1, 2) | -1, heads).transpose(0, 3, 1, 2)
mha_b | dkey: has the values of dvalue; dvalue: has the values of dkey; | return (*dinputs, grads) | return (dinputs[0], dinputs[2], dinputs[1], grads)
mha_b | on the way back from the output, dvalue is right, and dbq is the first that is wrong; | (dattn_weights - (attn_weights * dattn_weights).sum(axis=-1, keepdims=True)) | dattn_weights
decoder_layer_f | returns other numbers when it is called again; |     a = np.maximum(0, x |     x = x * (np.random.random(x.shape) > 0.1)\n    a = np.maximum(0, x
decoder_layer_b | first correct layernorm_backward | d - d.mean(-1, keepdims=True) - | d -
"""  # noqa: E501
ROWS = [row.split(" | ") for row in MISTAKES.strip().splitlines() if row[0] != "#"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row[:2]))
def test_the_first_words_name_the_mistake(row: list[str]) -> None:
    name, hint, *replacements = row
    for short, long in SHORT.items():
        name = re.sub(rf"{short}\b" if short[0] == "_" else short, long, name)
    names = [name, "layernorm_backward", "rnn_step_backward"] if hint.startswith("first correct ") else [name]
    with np.errstate(all="ignore"):
        assert problems(edits(replacements, name), names)[name].startswith(hint)


def test_a_function_that_does_not_use_a_wrong_inner_one_passes() -> None:
    own = edits(["= rnn_step_backward(dh", "= right_step(dh"], "") + "right_step = rnn_step_backward\n"
    own += "def rnn_step_backward(*arguments): return [2 * grad for grad in right_step(*arguments)]\n"
    found = problems(own, ["rnn_step_backward", "rnn_backward"])
    assert [name for name, problem in found.items() if problem] == ["rnn_step_backward"]
    assert found["rnn_step_backward"].startswith(
        "all gradients contain da, and all are wrong: da: 2 times the right value; "
    )
