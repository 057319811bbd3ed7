"""The same model in PyTorch on the CPU: common variants of a training step, and batched decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, log_softmax
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks import checks, machine
from benchmarks.ours import CLIP, RATE
from benchmarks.shapes import END, NULL, START, Batch, Shape
from captioner.arrays import Array, Params

LAYERS = {"rnn": (nn.RNN, [0]), "lstm": (nn.LSTM, [0, 1, 3, 2])}
"""PyTorch's layer of every cell, and the order of its gates: i, f, g, o where captioner has i, f, o, g."""
NAMES = {
    "W_embed": "embed.weight",
    "W_proj": "project.weight",
    "b_proj": "project.bias",
    "Wx": "rnn.weight_ih_l0",
    "Wh": "rnn.weight_hh_l0",
    "b": "rnn.bias_ih_l0",
    "W_vocab": "vocab.weight",
    "b_vocab": "vocab.bias",
}
"""PyTorch's name of each parameter of captioner; matrices are transposed, except the word vectors."""


class Model(nn.Module):
    """Image -> h0, words -> embedding -> nn.LSTM or nn.RNN -> scores; initialized with captioner's parameters."""

    def __init__(self, shape: Shape, params: Params) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocab, shape.wordvec)
        self.project = nn.Linear(shape.feature, shape.hidden)
        self.rnn = LAYERS[shape.cell][0](shape.wordvec, shape.hidden, batch_first=True)
        self.vocab = nn.Linear(shape.hidden, shape.vocab)
        with torch.no_grad():
            for name, theirs in NAMES.items():
                self.get_parameter(theirs).copy_(torch.from_numpy(_turn(name, self._swap(name, params[name]))))
            self.rnn.bias_hh_l0.zero_()  # captioner has one bias

    def gradients(self) -> Params:
        """Return the gradients under captioner's names."""
        grads = {name: self.get_parameter(theirs).grad for name, theirs in NAMES.items()}
        return {n: self._swap(n, _turn(n, grad.numpy())).copy() for n, grad in grads.items() if grad is not None}

    def _swap(self, name: str, array: Array) -> Array:
        """Convert between the two gate orders; the permutation is its own inverse."""
        if name not in ("Wx", "Wh", "b"):
            return array
        gates = array.reshape(*array.shape[:-1], -1, self.shape.hidden)
        return gates[..., LAYERS[self.shape.cell][1], :].reshape(array.shape)

    def drop(self, x: Tensor, rate: float) -> Tensor:
        return dropout(x, rate) if self.training and rate else x

    def start(self, features: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h0 = self.project(self.drop(features, self.shape.dropout.features))[None]
        return (h0, torch.zeros_like(h0)) if isinstance(self.rnn, nn.LSTM) else h0

    def words(self, ids: Tensor) -> Tensor:
        return self.drop(self.embed(ids), self.shape.dropout.words)

    def scores(self, hidden: Tensor) -> Tensor:
        return torch.as_tensor(self.vocab(self.drop(hidden, self.shape.dropout.hidden)))


def _turn(name: str, array: Array) -> Array:
    return array if name == "W_embed" else array.T


def padded(model: Model, features: Tensor, captions: Tensor) -> Tensor:
    """Compute all positions and ignore the loss of masked ones."""
    hidden, _ = model.rnn(model.words(captions[:, :-1]), model.start(features))
    scores, targets = model.scores(hidden), captions[:, 1:]
    flat = scores.reshape(-1, scores.shape[-1])
    return cross_entropy(flat, targets.reshape(-1), ignore_index=NULL, reduction="sum") / len(captions)


def packed(model: Model, features: Tensor, captions: Tensor) -> Tensor:
    """Use packed sequences: nn.LSTM and the projection compute unmasked positions only."""
    lengths = (captions[:, 1:] != NULL).sum(dim=1)

    def pack(x: Tensor) -> nn.utils.rnn.PackedSequence:
        return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)

    hidden, _ = model.rnn(pack(model.words(captions[:, :-1])), model.start(features))
    return cross_entropy(model.scores(hidden.data), pack(captions[:, 1:]).data, reduction="sum") / len(captions)


def unmasked(model: Model, features: Tensor, captions: Tensor) -> Tensor:
    """Pad for nn.LSTM and project unmasked positions only."""
    hidden, _ = model.rnn(model.words(captions[:, :-1]), model.start(features))
    targets = captions[:, 1:]
    live = targets != NULL
    return cross_entropy(model.scores(hidden[live]), targets[live], reduction="sum") / len(captions)


class Variant(NamedTuple):
    """The loss function, `fused` of Adam, and whether products are computed with bfloat16 numbers."""

    loss: Callable[[Model, Tensor, Tensor], Tensor]
    fused: bool | None = True
    bfloat16: bool = False


VARIANTS = {
    "torch eager": Variant(padded, None),
    "torch padded": Variant(padded),
    "torch packed": Variant(packed),
    "torch unmasked": Variant(unmasked),
    **({"bfloat16": Variant(unmasked, bfloat16=True)} if machine.has_bfloat16() else {}),
}
"""The variants; the names of those in float32 start with `torch`."""


class Peer:
    """One variant on one batch."""

    library = "torch"

    def __init__(self, name: str, shape: Shape, params: Params, batch: Batch) -> None:
        self.variant = VARIANTS[name]
        self.tolerance = checks.BFLOAT16 if self.variant.bfloat16 else checks.FLOAT32
        self.model = Model(shape, params)
        self.adam = torch.optim.Adam(self.model.parameters(), lr=RATE, fused=self.variant.fused)
        self.batch = torch.from_numpy(batch.features), torch.from_numpy(batch.captions)

    def gradients(self) -> tuple[float, Params]:
        self.model.eval()  # without dropout
        loss = self._backward()
        self.model.train()
        return loss, self.model.gradients()

    def step(self) -> float:
        loss = self._backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.adam.step()
        return loss

    def _backward(self) -> float:
        """Compute the gradients and return the loss."""
        self.adam.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.variant.bfloat16):
            loss = self.variant.loss(self.model, *self.batch)
        loss.backward()
        return loss.item()


@torch.inference_mode()
def greedy(model: Model, features: Array, max_length: int) -> Array:
    """Decode all images greedily for `max_length` steps.

    Shapes: features (N, F) -> tokens (N, max_length).
    """
    state = model.start(torch.from_numpy(features))
    words, tokens = torch.full((len(features),), START), []
    for _ in range(max_length):
        hidden, state = model.rnn(model.words(words[:, None]), state)
        words = model.scores(hidden[:, 0]).argmax(dim=1)
        tokens.append(words)
    captions = torch.stack(tokens, dim=1)
    ended = (captions == END).cumsum(dim=1) - (captions == END).long()
    return captions.masked_fill(ended > 0, NULL).numpy()


@torch.inference_mode()
def beam(model: Model, features: Array, width: int, max_length: int) -> tuple[Array, Array]:
    """Beam search over N K rows at once; finished captions stay in the beam.

    Shapes: features (N, F) -> tokens (N, K, max_length), scores (N, K).
    """
    count = len(features)
    state: Any = model.start(torch.from_numpy(features).repeat_interleave(width, dim=0))
    first_row = torch.arange(count)[:, None] * width
    words, tokens = torch.full((count * width,), START), torch.empty(count * width, 0, dtype=torch.long)
    totals = torch.full((count, width), -torch.inf)
    totals[:, 0] = 0
    for _ in range(max_length):
        hidden, state = model.rnn(model.words(words[:, None]), state)
        log_probs = log_softmax(model.scores(hidden[:, 0]), dim=1)
        ended = (words == END) | (words == NULL)
        log_probs[ended] = -torch.inf
        log_probs[ended, NULL] = 0
        candidates = (totals[:, :, None] + log_probs.reshape(count, width, -1)).reshape(count, -1)
        totals, best = candidates.topk(width, dim=1)
        rows = (first_row + best // log_probs.shape[1]).reshape(-1)
        words = (best % log_probs.shape[1]).reshape(-1)
        tokens = torch.cat((tokens[rows], words[:, None]), dim=1)
        state = tuple(s[:, rows] for s in state) if isinstance(state, tuple) else state[:, rows]
    return tokens.reshape(count, width, -1).numpy(), totals.numpy()


@torch.inference_mode()
def log_probabilities(model: Model, features: Array, tokens: Array) -> Array:
    """Return the log-probabilities of given captions, END included.

    Shapes: features (N, F), tokens (N, K, T) -> (N, K).
    """
    flat = torch.from_numpy(tokens.reshape(-1, tokens.shape[2]).astype(np.int64))
    read = torch.cat((torch.full((len(flat), 1), START), flat[:, :-1]), dim=1)
    state = model.start(torch.from_numpy(features).repeat_interleave(tokens.shape[1], dim=0))
    hidden, _ = model.rnn(model.words(read), state)
    each = log_softmax(model.scores(hidden), dim=2).gather(2, flat[:, :, None])[:, :, 0]
    return each.masked_fill(flat == NULL, 0).sum(dim=1).reshape(tokens.shape[:2]).numpy()
