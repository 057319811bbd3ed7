"""Reference implementations for decoders over a small table of log-probabilities."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from captioner.arrays import Batch
from captioner.decode import Constraints
from captioner.model.build import DECODERS, parameter_shapes
from captioner.model.captioning_model import CaptioningModel, State
from captioner.model.parameters import Sizes

Array = np.ndarray
Step = Callable[[Array, State], tuple[Array, State]]
NULL, START, END = range(3)
WORDS: dict[str, Any] = {"start": START, "end": END, "null": NULL}


def table(seed: int, images: int, vocab: int, steps: int) -> Array:
    """Random log-probabilities of the next word by image, step and previous word."""
    scores = 2 * np.random.default_rng(seed).standard_normal((images, steps, vocab, vocab))
    log_probs: Array = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return log_probs


def chain(log_probs: Array, calls: list[list[int]] | None = None) -> Step:
    """A step function whose state is the image of each row and the number of words fed to it."""

    def step(tokens: Array, state: State) -> tuple[Array, State]:
        image, (t,) = state
        if calls is not None:
            calls.append(image.tolist())
        return log_probs[image, t, tokens], (image, (t + 1,))

    return step


def initial(images: int) -> State:
    return np.arange(images), (np.zeros(images, int),)


def allowed(words: list[int], constraints: Constraints, vocab: int) -> list[int]:
    """The allowed next words."""
    n = constraints.no_repeat_ngram
    ngrams = {tuple(words[at : at + n]) for at in range(len(words) - n + 1)} if n else set()
    free = [
        word
        for word in range(vocab)
        if word not in constraints.banned
        and (word != END or len(words) >= constraints.min_length)
        and not (n and len(words) >= n and (*words[len(words) - n + 1 :], word) in ngrams)
    ]
    return free or [END]


def constraints() -> st.SearchStrategy[Constraints]:
    banned = st.sets(st.sampled_from([NULL, START, 3]), max_size=3).map(sorted)
    return st.builds(Constraints, banned, st.integers(0, 4), st.integers(0, 3))


def captions(log_probs: Array, limits: Constraints) -> Iterator[tuple[list[int], float]]:
    """All allowed captions of one image (steps, vocab, vocab), with log-probabilities."""

    def grow(words: list[int], score: float) -> Iterator[tuple[list[int], float]]:
        if len(words) == len(log_probs) or words[-1:] == [END]:
            yield words, score
            return
        before = words[-1] if words else START
        for word in allowed(words, limits, log_probs.shape[-1]):
            yield from grow([*words, word], score + log_probs[len(words), before, word])

    return grow([], 0.0)


def model(
    seed: int, decoder: str = "lstm", attention: str = "none", hidden: int = 6, vocab: int = 7, dtype: Any = np.float64
) -> CaptioningModel:
    """A model with random parameters, F = 4 and R = 3; a transformer has an even `hidden`."""
    sizes = Sizes(vocab, 4, 3, hidden, decoder, "init", attention, 3, 5, layers=2, heads=2, feed_forward=5)
    rng = np.random.default_rng(seed)
    params = {name: rng.standard_normal(shape).astype(dtype) for name, shape in parameter_shapes(sizes).items()}
    return DECODERS[decoder](sizes, params)


def log_prob(model: Any, feature: Array, tokens: list[int]) -> float:
    """The log-probability of a caption by teacher forcing."""
    words = tokens[: tokens.index(END) + 1] if END in tokens else tokens
    return -float(model.word_losses(Batch(feature, np.array([[START, *words]]))).sum(dtype=float))
