"""Captions drawn at random, the same for an image whatever is drawn beside it."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.decode.autoregressive import autoregressive_loop
from captioner.decode.constraints import FREE, Constraints
from captioner.model.state import State, StepFunction, count, take


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
    constraints: Constraints = FREE,
) -> tuple[Array, Array]:
    """Draw K = `samples` captions of every image, independent of each other.

    word_t ~ P(word | words before)^(1 / temperature), among the words that may come, of these the `top_k` likeliest,
    and of these the fewest likeliest whose share is at least `top_p`;   score = Σ_t log P(word_t)

    The noise of image i, sample k and time t is a function of (seed, i, k, t) alone; `images` numbers the images, by
    default in their order.

    Shapes: state arrays (N, ...), images (N,) below 2^64 -> tokens (N, K, max_length) int32, scores (N, K), likeliest
    first.
    Source: Fan et al. 2018, "Hierarchical Neural Story Generation" (top-k); Holtzman et al. 2020, "The Curious Case of
    Neural Text Degeneration" (top-p).
    """
    images = np.arange(count(state)) if images is None else images
    uniform = noise(seed, images, samples, max_length)

    def choose(log_probs: Array, live: Array, t: int) -> Array:
        return draw(log_probs, uniform[live, t], temperature, top_k, top_p)

    tokens, scores = autoregressive_loop(
        step,
        take(state, np.repeat(np.arange(len(images)), samples)),
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


def noise(seed: int, images: Array, samples: int, steps: int) -> Array:
    """Uniform numbers in [0, 1), each a function of the seed, the image, the sample and the time.

    Shapes: images (N,) -> (N samples, steps), an image's samples side by side.
    """
    uniform = np.empty((len(images) * samples, steps))
    for row, numbers in enumerate(uniform):
        # Philox draws by counting: each image and sample has 2^128 numbers of its own.
        counter = np.array([0, 0, row % samples, images[row // samples]], np.uint64)
        np.random.Generator(np.random.Philox(key=seed, counter=counter)).random(out=numbers)
    return uniform


def draw(log_probs: Array, uniform: Array, temperature: float, top_k: int | None, top_p: float) -> Array:
    """The word of every row at which the summed probabilities, by id, of the words that are left pass `uniform`.

    Shapes: log_probs (R, V), uniform (R,) -> (R,).
    """
    shards = _shares(log_probs, temperature)
    if top_k is not None or top_p < 1:
        shards *= _kept(log_probs, temperature, top_k, top_p)
    below = np.cumsum(shards.astype(float), axis=1)
    total = below[:, -1:]
    last = (below < total).sum(axis=1)  # where rounding takes uniform · total up to the total
    words: Array = np.minimum((below <= uniform[:, None] * total).sum(axis=1), last)
    return words


def _shares(log_probs: Array, temperature: float) -> Array:
    """What the words' probabilities are to the likeliest's."""
    shards: Array = log_probs - log_probs.max(axis=1, keepdims=True)
    shards /= temperature
    np.exp(shards, out=shards)
    return shards


def _kept(log_probs: Array, temperature: float, top_k: int | None, top_p: float) -> Array:
    """Which words may be drawn; of equally likely ones the first, as in `greedy`.

    Sorting values and comparing with the least takes a tenth of the time of sorting ids stably.
    """
    falling = np.sort(log_probs, axis=1)[:, ::-1][:, :top_k]
    number = np.full((len(falling), 1), falling.shape[1])
    if top_p < 1:
        total = np.cumsum(_shares(falling, temperature).astype(float), axis=1)
        number = 1 + (total < top_p * total[:, -1:]).sum(axis=1, keepdims=True)
    least = np.take_along_axis(falling, number - 1, axis=1)
    kept, more = log_probs > least, log_probs == least
    missing = number - kept.sum(axis=1, keepdims=True)
    if (more.sum(axis=1, keepdims=True) > missing).any():
        more &= more.cumsum(axis=1) <= missing
    kept |= more
    return kept
