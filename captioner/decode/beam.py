"""Beam search over a batch of images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from captioner.arrays import Array
from captioner.decode.constraints import UNCONSTRAINED, Constraints
from captioner.model.captioning_model import State, StepFunction, count_rows, take_rows

BLOCK = 1 << 16
"""Log-probabilities searched at a time: few enough to stay in the CPU cache over the argmax passes."""


def length_norm(length: Any, length_penalty: float) -> Any:
    """Return what the log-probability of a caption of `length` words is divided by.

    It must not fall with the length: beam search bounds what unfinished captions can reach.
    """
    return length**length_penalty


def beam(
    step: StepFunction,
    state: State,
    guidance: Array | None = None,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    width: int,
    length_penalty: float = 0.0,
    constraints: Constraints = UNCONSTRAINED,
) -> tuple[Array, Array]:
    """Search with a beam of width K over a batch of images, and return the K best captions of each.

    score = Σ_t log P(word_t | words before);   captions are ranked by score / length^`length_penalty`

    The length includes `<END>`. Each step takes the 2K most probable continuations of an image's beams: `<END>` in the
    first K finishes a caption, later ones are dropped; the first K others stay in the beam. A beam is pruned when
    the score that it can reach is no better than the K-th finished caption: log-probabilities never increase. K = 1
    equals `greedy`; a beam as wide as the tree of all captions is an exhaustive search.

    `guidance` has a bonus of each word for each image. The search adds the bonuses of the distinct words of a caption
    to its score and ranks captions by the sum, but the scores that are returned contain no bonus.

    Shapes: state arrays (N, ...), guidance (N, V) -> tokens (N, K, max_length) int32, scores (N, K), best first;
    missing captions are all `<NULL>` with score -inf.
    Source: Wu et al. 2016, "Google's Neural Machine Translation System", section 7 (beam search with length
    normalization); Jean et al. 2015, "Montreal Neural Machine Translation Systems for WMT'15" (length^α).
    """
    images = count_rows(state)
    image = np.arange(images)[:, None]
    done, live = _Beams.empty(images, width, max_length, null), _Beams.empty(images, width, max_length, null)
    live.scores[:, 0] = live.ranks[:, 0] = 0
    largest = np.zeros((images, 1)) if guidance is None else _largest_bonuses(guidance, max_length)
    words = np.full((images, width), start)
    rows = np.tile(np.arange(images)[:, None], (1, width))
    # Of one beam, only <END> and K others can be among the continuations that are kept.
    expanded, of_beam = (2 * width, width + 1) if width > 1 else (1, 1)
    max_norm = length_norm(max(1, max_length), length_penalty)
    for t in range(max_length):
        alive = live.ranks > done.ranks[:, -1:]
        if not alive.any():
            break
        log_probs, state = step(words[alive], take_rows(state, rows[alive]))
        rows[alive] = np.arange(len(log_probs))
        constraints.apply(log_probs, live.tokens[alive, :t], end)
        bonus = None
        if guidance is not None:
            bonus = guidance[np.nonzero(alive)[0]]
            np.put_along_axis(bonus, live.tokens[alive, :t], 0, axis=1)
        top, top_scores, top_bonuses = _continuations(log_probs, bonus, min(of_beam, log_probs.shape[1]))
        # Candidates of each image: (N, K, top), with -inf for the pruned beams.
        scores, bonuses = np.full((*alive.shape, top.shape[1]), -np.inf), np.zeros((*alive.shape, top.shape[1]))
        scores[alive] = live.scores[alive][:, None] + top_scores
        bonuses[alive] = live.bonuses[alive][:, None] + top_bonuses
        order = np.argsort(-(scores + bonuses).reshape(images, -1), axis=1, kind="stable")[:, :expanded]
        parent, choice = np.divmod(order, top.shape[1])
        candidates = np.full(scores.shape, null)
        candidates[alive] = top
        words, scores, bonuses = (values[image, parent, choice] for values in (candidates, scores, bonuses))
        tokens = live.tokens[image, parent]
        tokens[:, :, t] = words
        ended = words == end
        if ended[:, :width].any():
            captions = np.where(ended, scores, -np.inf)[:, :width]
            ranks = (captions + bonuses[:, :width]) / length_norm(t + 1, length_penalty)
            done = done.merged(_Beams(tokens[:, :width], captions, bonuses[:, :width], ranks))
        others = np.argsort(ended, axis=1, kind="stable")[:, :width]
        scores, bonuses = np.where(ended, -np.inf, scores)[image, others], bonuses[image, others]
        # At most the largest bonuses are added: those of the words that are left, and those of the whole caption.
        left = largest[:, [min(max_length - t - 1, largest.shape[1] - 1)]]
        bounds = scores + np.minimum(bonuses + left, largest[:, -1:])
        norms = np.where(bounds < 0, max_norm, length_norm(min(t + 2, max_length), length_penalty))
        live = _Beams(tokens[image, others], scores, bonuses, bounds / norms)
        words, rows = words[image, others], rows[image, parent[image, others]]
    best = done.merged(live)
    return best.tokens, best.scores


class _Beams(NamedTuple):
    """Captions of each image, best first: tokens (N, K, max_length), scores, bonuses and ranks (N, K).

    `ranks` are length-normalized sums of score and bonuses; those of unfinished captions are upper bounds.
    """

    tokens: Array
    scores: Array
    bonuses: Array
    ranks: Array

    @classmethod
    def empty(cls, images: int, width: int, max_length: int, null: int) -> _Beams:
        scores = np.full((images, width), -np.inf)
        return cls(np.full((images, width, max_length), null, np.int32), scores, np.zeros_like(scores), scores.copy())

    def merged(self, others: _Beams) -> _Beams:
        """Return the K best captions of both."""
        values = [np.concatenate(pair, axis=1) for pair in zip(self, others, strict=True)]
        best = np.argsort(-values[-1], axis=1, kind="stable")[:, : self.ranks.shape[1]]
        image = np.arange(len(best))[:, None]
        return _Beams(*(array[image, best] for array in values))


def _continuations(log_probs: Array, bonus: Array | None, k: int) -> tuple[Array, Array, Array]:
    """Top-k words of each row by log-probability plus bonus, with both (R, k); may overwrite `log_probs`."""
    if bonus is None:
        words, scores = _top_k(log_probs, k)
        return words, scores, np.zeros_like(scores)
    words, guided = _top_k(log_probs + bonus, k)
    scores = np.where(guided > -np.inf, np.take_along_axis(log_probs, words, axis=1), -np.inf)
    return words, scores, np.take_along_axis(bonus, words, axis=1)


def _largest_bonuses(guidance: Array, count: int) -> Array:
    """Return the sum of the r largest positive bonuses of each image, r = 0 .. `count`.

    Shapes: (N, V) -> (N, count + 1).
    """
    largest = np.sort(np.maximum(guidance, 0), axis=1)[:, : -count - 1 : -1]
    return np.pad(largest.cumsum(axis=1, dtype=float), ((0, 0), (1, 0)))


def _top_k(log_probs: Array, k: int) -> tuple[Array, Array]:
    """Top-k words of each row, best first, and their log-probabilities (R, k); overwrites `log_probs`.

    For beam widths, k passes of argmax are faster than a partial sort, and resolve ties as `greedy` does.
    """
    words = np.empty((len(log_probs), k), int)
    scores = np.empty((len(log_probs), k))
    size = max(1, BLOCK // log_probs.shape[1])
    for first in range(0, len(log_probs), size):
        block, row = log_probs[first : first + size], np.arange(min(size, len(log_probs) - first))
        for rank in range(k):
            best = block.argmax(axis=1)
            words[first + row, rank] = best
            scores[first + row, rank] = block[row, best]
            block[row, best] = -np.inf
    return words, scores
