"""Captions drawn at random, the same for an image whatever is drawn beside it."""

from __future__ import annotations

import numpy as np

from captioner.arrays import Array
from captioner.decode.constraints import FREE, Constraints
from captioner.decode.follow import follow
from captioner.decode.state import State, StepFunction, count, take


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

    tokens, scores = follow(
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
    """The word of every row at which the summed probabilities of the words that are left pass `uniform`.

    Words are summed by falling probability where some are cut off, else by id.

    Shapes: log_probs (R, V), uniform (R,) -> (R,).
    """
    shares = log_probs - log_probs.max(axis=1, keepdims=True)
    shares /= temperature
    np.exp(shares, out=shares)
    cut = top_k is not None or top_p < 1
    order = np.argsort(-log_probs, axis=1, kind="stable") if cut else None
    below = np.cumsum(shares if order is None else np.take_along_axis(shares, order, axis=1), axis=1, dtype=float)
    total = below[:, min(top_k or below.shape[1], below.shape[1]) - 1, None]
    if top_p < 1:
        total = np.take_along_axis(below, (below < top_p * total).sum(axis=1, keepdims=True), axis=1)
    last = (below < total).sum(axis=1)  # where rounding takes uniform · total up to the total
    chosen: Array = np.minimum((below <= uniform[:, None] * total).sum(axis=1), last)
    return chosen if order is None else order[np.arange(len(order)), chosen]
