"""Gradient norms through time: the gradient of one word's loss with respect to earlier inputs and hidden states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array, Batch, SharedRows
from captioner.data.batches import take
from captioner.data.corpus import Split
from captioner.errors import CheckpointError, DataError
from captioner.layers.attention import attention_backward
from captioner.layers.packing import pack
from captioner.layers.scan import scan_backward, scan_forward
from captioner.layers.softmax import cross_entropy
from captioner.model.captioning_model import CaptioningModel, State
from captioner.model.captioning_rnn import CaptioningRNN, hidden_attention

MAX_CAPTIONS = 512
"""Captions to average over: enough for two significant digits."""


class GradientNorms(NamedTuple):
    """The number of captions, and mean gradient norms 0, 1, ... T - 1 steps before word T.

    `norms` are those at the states of a recurrent decoder, None for others; `inputs` are those at the embedded words.
    """

    captions: int
    norms: list[float] | None
    inputs: list[float]


def gradient_norms(model: CaptioningModel, split: Split, word: int, max_captions: int = MAX_CAPTIONS) -> GradientNorms:
    """Compute ‖∂ loss_T / ∂ x_t‖ for t = T, T - 1, ... 1, averaged over captions of at least T words.

    loss_T = -log P(word_T | words before, image). x_t is the embedding of the t-th input; the first input is `<START>`,
    and `<END>` counts as a word. For a recurrent decoder also ‖∂ loss_T / ∂ state_t‖, where state_t is the state (h and
    c concatenated) before x_t. Norms that decrease exponentially with the distance are the vanishing gradient.

    Raises: DataError when no caption has T words, CheckpointError when a gradient is not finite.
    Source: Bengio et al. 1994, "Learning Long-Term Dependencies with Gradient Descent is Difficult".
    """
    long = np.flatnonzero((split.captions[:, 1:] != model.null).sum(axis=1) >= word)[:max_captions]
    if not len(long):
        longest = int((split.captions[:, 1:] != model.null).sum(axis=1).max())
        raise DataError(
            f"captions: expected a caption of at least {word} words, the longest has {longest}; try --word {longest}"
        )
    batch = take(split, long)
    batch = batch._replace(captions=batch.captions[:, : word + 1])
    gradients = model.input_gradients(batch).astype(float)
    inputs = np.sqrt((gradients**2).sum(axis=2)).mean(axis=0).tolist()
    norms = _state_norms(model, batch) if isinstance(model, CaptioningRNN) else None
    if not np.isfinite([*inputs, *(norms or ())]).all():
        raise CheckpointError("the gradients of this model are not finite: its parameters are too large")
    return GradientNorms(len(long), norms and norms[::-1], inputs[::-1])


def _state_norms(model: CaptioningRNN, batch: Batch) -> list[float]:
    """Compute the mean norms at the states before each word of the batch."""
    captions, word = batch.captions, batch.captions.shape[1] - 1
    state, norms, inference = model.start(batch.features, batch.regions), [], model.for_inference()
    for t in range(word):
        norms.append(_norm_at(model, state, captions[:, t:word], captions[:, word]))
        _, state = inference.step(captions[:, t], state)
    return norms


def _norm_at(model: CaptioningRNN, state: State, read: Array, targets: Array) -> float:
    """Compute the mean norm of the gradient of the targets' loss with respect to the state before the words `read`."""
    p, count, steps = model.params, *read.shape
    packing = pack(np.full(count, steps))
    inputs = p["W_embed"][read[packing.caption, packing.time]]
    weights = p["Wx"][: model.sizes.wordvec], p["Wh"], p["b"]
    arrays = tuple(part for part in state if not isinstance(part, SharedRows))
    hidden, cache = scan_forward(model.cell, inputs, None, arrays, *weights, packing)
    last = packing.time == steps - 1
    out, attention = hidden[last], None
    for keys in state[len(arrays) :]:
        out, attention = hidden_attention(p, out, keys[packing.caption[last]])
    _, _, dout, _ = cross_entropy(out @ p["W_vocab"], targets[packing.caption[last]], 1.0, p["b_vocab"])
    dout = dout @ p["W_vocab"].T
    if attention is not None:
        dout, *_ = attention_backward(dout, attention)
    dhidden = np.zeros_like(hidden)
    dhidden[last] = dout
    _, dstate, *_ = scan_backward(model.cell, dhidden, cache)
    squares = sum((d.astype(float) ** 2).sum(axis=1) for d in dstate[: model.cell.states])
    return float(np.sqrt(squares).mean())
