"""A training step of the same model in PyTorch on the CPU, in common variants, and batched decoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax
from torch.nn.utils.rnn import pack_padded_sequence

from benchmarks import machine
from benchmarks.ours import CLIP, RATE
from benchmarks.shapes import END, NULL, START, Batch, Shape, regions
from benchmarks.torch_models import Images, Model, Recurrent, Transformer, build
from captioner.arrays import Array, Params


def padded(model: Model, images: Images, captions: Tensor) -> Tensor:
    """Compute all positions and ignore the loss of masked ones."""
    scores, targets = model.scores(model.hidden(images, captions[:, :-1])), captions[:, 1:]
    flat = scores.reshape(-1, scores.shape[-1])
    return cross_entropy(flat, targets.reshape(-1), ignore_index=NULL, reduction="sum") / len(captions)


def packed(model: Model, images: Images, captions: Tensor) -> Tensor:
    """Use packed sequences: nn.LSTM and the projection compute unmasked positions only."""
    assert isinstance(model, Recurrent)
    lengths = (captions[:, 1:] != NULL).sum(dim=1)

    def pack(x: Tensor) -> nn.utils.rnn.PackedSequence:
        return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)

    hidden, _ = model.rnn(pack(model.words(captions[:, :-1])), model.first(images))
    return cross_entropy(model.scores(hidden.data), pack(captions[:, 1:]).data, reduction="sum") / len(captions)


def unmasked(model: Model, images: Images, captions: Tensor) -> Tensor:
    """Pad for nn.LSTM or nn.TransformerDecoder, and project unmasked positions only."""
    hidden, targets = model.hidden(images, captions[:, :-1]), captions[:, 1:]
    live = targets != NULL
    return cross_entropy(model.scores(hidden[live]), targets[live], reduction="sum") / len(captions)


class Variant(NamedTuple):
    """The loss function, `fused` of Adam, and whether products are computed with bfloat16 numbers."""

    loss: Callable[[Model, Images, Tensor], Tensor]
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

    def __init__(self, name: str, shape: Shape, params: Params, batch: Batch) -> None:
        self.variant = VARIANTS[name]
        self.model = build(shape, params)
        self.adam = torch.optim.Adam(self.model.parameters(), lr=RATE, fused=self.variant.fused)
        shared = regions(shape)
        self.images = Images(torch.from_numpy(batch.features), shared and torch.from_numpy(shared.values))
        self.captions = torch.from_numpy(batch.captions)

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
            loss = self.variant.loss(self.model, self.images, self.captions)
        loss.backward()
        return float(loss.item())


@torch.inference_mode()
def greedy(model: Recurrent | Transformer, features: Array, max_length: int) -> Array:
    """Decode all images greedily until all captions have ended; finished captions stay in the batch.

    Shapes: features (N, F) -> tokens (N, max_length).
    """
    count, state = len(features), model.start(Images(torch.from_numpy(features)))
    words, tokens = torch.full((count,), START), torch.full((count, max_length), NULL)
    ended = torch.zeros(count, dtype=torch.bool)
    for t in range(max_length):
        hidden, state = model.step(words, state)
        words = model.scores(hidden).argmax(dim=1)
        tokens[:, t] = words.masked_fill(ended, NULL)
        ended |= words == END
        if ended.all():
            break
    return tokens.numpy()


@torch.inference_mode()
def beam(model: Recurrent | Transformer, features: Array, width: int, max_length: int) -> tuple[Array, Array]:
    """Beam search over N K rows at once until all captions have ended; finished ones stay in the beam.

    Shapes: features (N, F) -> tokens (N, K, max_length), scores (N, K).
    """
    count = len(features)
    state = model.start(Images(torch.from_numpy(features)), width)
    first_row = torch.arange(count)[:, None] * width
    words, tokens = torch.full((count * width,), START), torch.full((count * width, max_length), NULL)
    totals = torch.full((count, width), -torch.inf)
    totals[:, 0] = 0
    for t in range(max_length):
        hidden, state = model.step(words, state)
        log_probs = log_softmax(model.scores(hidden), dim=1)
        ended = (words == END) | (words == NULL)
        log_probs[ended] = -torch.inf
        log_probs[ended, NULL] = 0
        candidates = (totals[:, :, None] + log_probs.reshape(count, width, -1)).reshape(count, -1)
        totals, best = candidates.topk(width, dim=1)
        rows = (first_row + best // log_probs.shape[1]).reshape(-1)
        words = (best % log_probs.shape[1]).reshape(-1)
        tokens = tokens[rows]
        tokens[:, t] = words
        if ((words == END) | (words == NULL)).all():
            break
        state = model.take(state, rows)
    return tokens.reshape(count, width, -1).numpy(), totals.numpy()


@torch.inference_mode()
def log_probabilities(model: Model, features: Array, tokens: Array) -> Array:
    """Return the log-probabilities of given captions, END included.

    Shapes: features (N, F), tokens (N, K, T) -> (N, K).
    """
    flat = torch.from_numpy(tokens.reshape(-1, tokens.shape[2]).astype(np.int64))
    read = torch.cat((torch.full((len(flat), 1), START), flat[:, :-1]), dim=1)
    hidden = model.hidden(Images(torch.from_numpy(features).repeat_interleave(tokens.shape[1], dim=0)), read)
    each = log_softmax(model.scores(hidden), dim=2).gather(2, flat[:, :, None])[:, :, 0]
    return each.masked_fill(flat == NULL, 0).sum(dim=1).reshape(tokens.shape[:2]).numpy()
