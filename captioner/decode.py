"""Decoding: from a model that tells the next word's log-probabilities to whole captions.

A decoder knows the model only as `step(tokens, state) -> log_probs, state`, where a state is a tuple of row arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from captioner.arrays import Array

State = tuple[Array, ...]
StepFunction = Callable[[Array, State], tuple[Array, State]]
"""Its log_probs are the decoder's to overwrite, until the next call."""

CACHE = 1 << 16
"""So many log-probabilities at a time that the passes over them find them in the cache."""


def greedy(
    step: StepFunction,
    state: State,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    banned: Sequence[int] = (),
) -> tuple[Array, Array]:
    """Take the likeliest word at every step, until `<END>` or `max_length` words.

    word_t = argmax over the words that are not banned of log P(word | words before);   score = Σ_t log P(word_t)

    A caption leaves the batch at its `<END>`; after it stands nothing but `<NULL>`. The score counts `<END>`.

    Shapes: state arrays (N, H) -> tokens (N, 1, max_length) int32, scores (N, 1).
    """
    count = len(state[0])
    tokens = np.full((count, 1, max_length), null, np.int32)
    scores = np.zeros((count, 1))
    live = np.arange(count)
    words = np.full(count, start)
    for t in range(max_length):
        log_probs, state = step(words, state)
        log_probs[:, list(banned)] = -np.inf
        words = log_probs.argmax(axis=1)
        tokens[live, 0, t] = words
        scores[live, 0] += log_probs[np.arange(len(live)), words]
        going = words != end
        if not going.all():
            live, words, state = live[going], words[going], tuple(rows[going] for rows in state)
        if not len(live):
            break
    return tokens, scores


def beam(
    step: StepFunction,
    state: State,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    width: int,
    banned: Sequence[int] = (),
) -> tuple[Array, Array]:
    """Keep the K = `width` likeliest beginnings of every image's caption, and return its K likeliest captions.

    score = Σ_t log P(word_t | words before). Of the 2K likeliest continuations of an image's beams, an `<END>` among
    the first K makes a caption, and a later one is dropped; the first K others live on. A beam whose score is no
    better than the K-th caption leaves the batch, since scores only fall. So K = 1 is `greedy`, and a beam as wide as
    the tree of all captions finds the best of them.

    Shapes: state arrays (N, H) -> tokens (N, K, max_length) int32, scores (N, K), best first; where there are fewer
    than K captions, `<NULL>` alone with a score of -inf.
    """
    count = len(state[0])
    image = np.arange(count)[:, None]
    done, live = _Beams.none(count, width, max_length, null), _Beams.none(count, width, max_length, null)
    live.scores[:, 0] = 0
    words = np.full((count, width), start)
    rows = np.tile(np.arange(count)[:, None], (1, width))
    for t in range(max_length):
        alive = live.scores > done.scores[:, -1:]
        if not alive.any():
            break
        log_probs, state = step(words[alive], tuple(s[rows[alive]] for s in state))
        rows[alive] = np.arange(len(log_probs))
        top, top_scores = _likeliest(log_probs, min(2 * width, log_probs.shape[1]), banned)
        # Candidates (N, K * top) of every image, beam after beam; those of a dead beam stay at -inf.
        scores = np.full((*alive.shape, top.shape[1]), -np.inf)
        scores[alive] = live.scores[alive][:, None] + top_scores
        order = np.argsort(-scores.reshape(count, -1), axis=1, kind="stable")[:, : 2 * width]
        parent, choice = np.divmod(order, top.shape[1])
        candidates = np.full(scores.shape, null)
        candidates[alive] = top
        words, scores = candidates[image, parent, choice], scores[image, parent, choice]
        tokens = live.tokens[image, parent]
        tokens[:, :, t] = words
        ended = words == end
        captions = _Beams(tokens[:, :width], np.where(ended, scores, -np.inf)[:, :width])
        done = done.joined(captions)
        others = np.argsort(ended, axis=1, kind="stable")[:, :width]
        live = _Beams(tokens[image, others], np.where(ended, -np.inf, scores)[image, others])
        words, rows = words[image, others], rows[image, parent[image, others]]
    return done.joined(live)


class _Beams(NamedTuple):
    """Captions of every image, best first: tokens (N, K, max_length), scores (N, K)."""

    tokens: Array
    scores: Array

    @classmethod
    def none(cls, count: int, width: int, max_length: int, null: int) -> _Beams:
        return cls(np.full((count, width, max_length), null, np.int32), np.full((count, width), -np.inf))

    def joined(self, others: _Beams) -> _Beams:
        """The best K of both."""
        tokens = np.concatenate([self.tokens, others.tokens], axis=1)
        scores = np.concatenate([self.scores, others.scores], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.scores.shape[1]]
        image = np.arange(len(scores))[:, None]
        return _Beams(tokens[image, best], scores[image, best])


def _likeliest(log_probs: Array, count: int, banned: Sequence[int]) -> tuple[Array, Array]:
    """The `count` likeliest allowed words of every row, best first, and their log-probabilities (R, count).

    So many passes of argmax beat a partial sort for the widths of beams, and settle ties as `greedy` does.
    """
    log_probs[:, list(banned)] = -np.inf
    words = np.empty((len(log_probs), count), int)
    scores = np.empty((len(log_probs), count))
    size = max(1, CACHE // log_probs.shape[1])
    for first in range(0, len(log_probs), size):
        some, row = log_probs[first : first + size], np.arange(min(size, len(log_probs) - first))
        for rank in range(count):
            best = some.argmax(axis=1)
            words[first + row, rank] = best
            scores[first + row, rank] = some[row, best]
            some[row, best] = -np.inf
    return words, scores
