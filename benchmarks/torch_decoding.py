"""Batched greedy and beam decoding of the PyTorch model."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn.functional import log_softmax

from benchmarks.shapes import END, NULL, START
from benchmarks.torch_peer import Model
from captioner.arrays import Array


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
