"""Beam search over all images at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.decode.constraints import FREE, Constraints
from captioner.model.state import State, StepFunction, count, take

CACHE = 1 << 16
"""So many log-probabilities at a time that the passes over them find them in the cache."""


def beam(
    step: StepFunction,
    state: State,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    width: int,
    length_penalty: float = 0.0,
    constraints: Constraints = FREE,
) -> tuple[Array, Array]:
    """Keep the K = `width` likeliest beginnings of every image's caption, and return the K best captions found.

    score = Σ_t log P(word_t | words before);   the best have the greatest score / length^`length_penalty`

    The length counts `<END>`. Of the 2K likeliest continuations of an image's beams, an `<END>` among the first K makes
    a caption, and a later one is dropped; the first K others live on. A beam leaves the batch when even its score,
    at the greatest length, would be no better than the K-th caption: scores only fall. For K = 1 there is one
    continuation, as in `greedy`; and a beam as wide as the tree of all captions finds the best of them.

    Shapes: state arrays (N, ...) -> tokens (N, K, max_length) int32, scores (N, K), best first; where there are fewer
    than K captions, `<NULL>` alone with a score of -inf.
    Source: Wu et al. 2016, "Google's Neural Machine Translation System", section 7, and Jean et al. 2015 (the power).
    """
    images = count(state)
    image = np.arange(images)[:, None]
    done, live = _Beams.none(images, width, max_length, null), _Beams.none(images, width, max_length, null)
    live.scores[:, 0] = live.ranks[:, 0] = 0
    words = np.full((images, width), start)
    rows = np.tile(np.arange(images)[:, None], (1, width))
    most = 2 * width if width > 1 else 1
    longest = max(1, max_length) ** length_penalty
    for t in range(max_length):
        alive = live.ranks > done.ranks[:, -1:]
        if not alive.any():
            break
        log_probs, state = step(words[alive], take(state, rows[alive]))
        rows[alive] = np.arange(len(log_probs))
        constraints.apply(log_probs, live.tokens[alive, :t], end)
        top, top_scores = _likeliest(log_probs, min(most, log_probs.shape[1]))
        # Candidates (N, K * top) of every image, beam after beam; those of a dead beam stay at -inf.
        scores = np.full((*alive.shape, top.shape[1]), -np.inf)
        scores[alive] = live.scores[alive][:, None] + top_scores
        order = np.argsort(-scores.reshape(images, -1), axis=1, kind="stable")[:, :most]
        parent, choice = np.divmod(order, top.shape[1])
        candidates = np.full(scores.shape, null)
        candidates[alive] = top
        words, scores = candidates[image, parent, choice], scores[image, parent, choice]
        tokens = live.tokens[image, parent]
        tokens[:, :, t] = words
        ended = words == end
        captions = np.where(ended, scores, -np.inf)[:, :width]
        done = done.joined(_Beams(tokens[:, :width], captions, captions / (t + 1) ** length_penalty))
        others = np.argsort(ended, axis=1, kind="stable")[:, :width]
        scores = np.where(ended, -np.inf, scores)[image, others]
        live = _Beams(tokens[image, others], scores, scores / longest)
        words, rows = words[image, others], rows[image, parent[image, others]]
    best = done.joined(live)
    return best.tokens, best.scores


class _Beams(NamedTuple):
    """Captions of every image, best first: tokens (N, K, max_length), scores (N, K), and what ranks them (N, K).

    Of a beam, that is the best rank it may come to.
    """

    tokens: Array
    scores: Array
    ranks: Array

    @classmethod
    def none(cls, images: int, width: int, max_length: int, null: int) -> _Beams:
        nothing = np.full((images, width), -np.inf)
        return cls(np.full((images, width, max_length), null, np.int32), nothing, nothing.copy())

    def joined(self, others: _Beams) -> _Beams:
        """The best K of both."""
        tokens, scores, ranks = (np.concatenate(pair, axis=1) for pair in zip(self, others, strict=True))
        best = np.argsort(-ranks, axis=1, kind="stable")[:, : self.ranks.shape[1]]
        image = np.arange(len(ranks))[:, None]
        return _Beams(tokens[image, best], scores[image, best], ranks[image, best])


def _likeliest(log_probs: Array, count: int) -> tuple[Array, Array]:
    """The `count` likeliest words of every row, best first, and their log-probabilities (R, count).

    So many passes of argmax beat a partial sort for the widths of beams, and settle ties as `greedy` does.
    """
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
