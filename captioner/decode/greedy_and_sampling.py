"""Greedy decoding and sampling: an autoregressive loop with one caption per row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from captioner.arrays import Array
from captioner.decode.constraints import UNCONSTRAINED, Constraints
from captioner.model.captioning_model import State, StepFunction, count_rows, take_rows

ChooseWords: TypeAlias = Callable[[Array, Array, int], Array]
"""`choose(log_probs (R, V), rows (R,), t)` -> next words (R,); `rows` are the indices of the unfinished captions."""


def autoregressive_loop(
    step: StepFunction,
    state: State,
    choose: ChooseWords,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    constraints: Constraints,
) -> tuple[Array, Array]:
    """Generate one caption per row until `<END>` or `max_length` words; finished captions leave the batch.

    Shapes: state arrays (R, ...) -> tokens (R, max_length) int32, log-probabilities (R,).
    """
    rows = count_rows(state)
    tokens = np.full((rows, max_length), null, np.int32)
    scores = np.zeros(rows)
    live = np.arange(rows)
    words = np.full(rows, start)
    for t in range(max_length):
        log_probs, state = step(words, state)
        constraints.apply(log_probs, tokens[live, :t], end)
        words = choose(log_probs, live, t)
        tokens[live, t] = words
        scores[live] += log_probs[np.arange(len(live)), words]
        unfinished = words != end
        if not unfinished.all():
            live, words, state = live[unfinished], words[unfinished], take_rows(state, unfinished)
        if not len(live):
            break
    return tokens, scores


def greedy(
    step: StepFunction,
    state: State,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    constraints: Constraints = UNCONSTRAINED,
) -> tuple[Array, Array]:
    """Decode greedily: choose the most probable word at each step, until `<END>` or `max_length` words.

    word_t = argmax over the allowed words of log P(word | words before);   score = Σ_t log P(word_t)

    The score includes `<END>`; tokens after it are `<NULL>`. Finished captions leave the batch.

    Shapes: state arrays (N, ...) -> tokens (N, 1, max_length) int32, scores (N, 1).
    """
    tokens, scores = autoregressive_loop(
        step, state, _argmax, start=start, end=end, null=null, max_length=max_length, constraints=constraints
    )
    return tokens[:, None], scores[:, None]


def _argmax(log_probs: Array, rows: Array, t: int) -> Array:
    words: Array = log_probs.argmax(axis=1)
    return words


def sample(
    step: StepFunction,
    state: State,
    images: Array | None = None,
    *,
    start: int,
    end: int,
    null: int,
    max_length: int,
    samples: int = 1,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    seed: int = 0,
    constraints: Constraints = UNCONSTRAINED,
) -> tuple[Array, Array]:
    """Sample K = `samples` independent captions per image.

    word_t ~ P(word | words before)^(1 / temperature) over the allowed words, truncated to the `top_k` most probable and
    then to the nucleus, the smallest set of most probable words of total probability at least `top_p`;
    score = Σ_t log P(word_t)

    The noise of image i, sample k and step t is a function of (seed, i, k, t) alone. `images` are the numbers i; the
    default is 0 .. N - 1.

    Shapes: state arrays (N, ...), images (N,) below 2^64 -> tokens (N, K, max_length) int32, scores (N, K), most
    probable first.
    Source: Fan et al. 2018, "Hierarchical Neural Story Generation" (top-k); Holtzman et al. 2020, "The Curious Case of
    Neural Text Degeneration" (top-p).
    """
    images = np.arange(count_rows(state)) if images is None else images
    uniform = uniform_noise(seed, images, samples, max_length)

    def choose(log_probs: Array, rows: Array, t: int) -> Array:
        return sample_words(log_probs, uniform[rows, t], temperature, top_k, top_p)

    tokens, scores = autoregressive_loop(
        step,
        take_rows(state, np.repeat(np.arange(len(images)), samples)),
        choose,
        start=start,
        end=end,
        null=null,
        max_length=max_length,
        constraints=constraints,
    )
    tokens, scores = tokens.reshape(len(images), samples, max_length), scores.reshape(len(images), samples)
    order = np.argsort(-scores, axis=1, kind="stable")
    image = np.arange(len(images))[:, None]
    return tokens[image, order], scores[image, order]


def uniform_noise(seed: int, images: Array, samples: int, steps: int) -> Array:
    """Return uniform noise in [0, 1), each number a function of (seed, image, sample, step).

    Shapes: images (N,) -> (N K, steps), K = samples; the samples of an image are adjacent rows.
    """
    uniform = np.empty((len(images) * samples, steps))
    for row, numbers in enumerate(uniform):
        # Philox is counter-based: each (image, sample) has its own range of 2^128 counters.
        counter = np.array([0, 0, row % samples, images[row // samples]], np.uint64)
        np.random.Generator(np.random.Philox(key=seed, counter=counter)).random(out=numbers)
    return uniform


def sample_words(log_probs: Array, uniform: Array, temperature: float, top_k: int | None, top_p: float) -> Array:
    """Sample a word per row by inverting the cumulative distribution of the truncated probabilities at `uniform`.

    Shapes: log_probs (R, V), uniform (R,) -> (R,).
    """
    weights = _weights(log_probs, temperature)
    if top_k is not None or top_p < 1:
        weights *= _truncation_mask(log_probs, temperature, top_k, top_p)
    below = np.cumsum(weights.astype(float), axis=1)
    total = below[:, -1:]
    last = (below < total).sum(axis=1)  # if uniform · total rounds up to total
    words: Array = np.minimum((below <= uniform[:, None] * total).sum(axis=1), last)
    return words


def _weights(log_probs: Array, temperature: float) -> Array:
    """Unnormalized probabilities: 1 for the most probable word."""
    weights: Array = log_probs - log_probs.max(axis=1, keepdims=True)
    weights /= temperature
    np.exp(weights, out=weights)
    return weights


def _truncation_mask(log_probs: Array, temperature: float, top_k: int | None, top_p: float) -> Array:
    """Mask of the top-k and nucleus words; ties are resolved in favour of smaller ids, as in `greedy`.

    Sorting values and comparing with the smallest one takes a tenth of the time of a stable argsort.
    """
    descending = np.sort(log_probs, axis=1)[:, ::-1][:, :top_k]
    number = np.full((len(descending), 1), descending.shape[1])
    if top_p < 1:
        total = np.cumsum(_weights(descending, temperature).astype(float), axis=1)
        number = 1 + (total < top_p * total[:, -1:]).sum(axis=1, keepdims=True)
    smallest = np.take_along_axis(descending, number - 1, axis=1)
    kept, tied = log_probs > smallest, log_probs == smallest
    missing = number - kept.sum(axis=1, keepdims=True)
    if (tied.sum(axis=1, keepdims=True) > missing).any():
        tied &= tied.cumsum(axis=1) <= missing
    kept |= tied
    return kept
