"""Greedy decoding over a table of log-probabilities, and decoders with a model image by image."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import END, NULL, START, WORDS, allowed, chain, constraints, initial, log_prob, table

from captioner.decode import Constraints, beam, greedy
from captioner.model.build import DECODERS, initial_params
from captioner.model.parameters import Sizes

Array = np.ndarray
VOCAB = 7


def by_hand(log_probs: Array, limits: Constraints) -> tuple[list[int], float]:
    """The caption of one image, one word at a time."""
    words: list[int] = []
    score = 0.0
    while len(words) < len(log_probs) and words[-1:] != [END]:
        following = log_probs[len(words), words[-1] if words else START]
        words.append(max(allowed(words, limits, VOCAB), key=lambda word: (following[word], -word)))
        score += following[words[-1]]
    return words + [NULL] * (len(log_probs) - len(words)), score


@given(seed=st.integers(0, 10_000), count=st.integers(0, 5), max_length=st.integers(0, 9), limits=constraints())
def test_greedy_matches_a_loop(seed: int, count: int, max_length: int, limits: Constraints) -> None:
    log_probs = table(seed, count, VOCAB, max_length)
    tokens, scores = greedy(chain(log_probs), initial(count), max_length=max_length, constraints=limits, **WORDS)
    assert (tokens.shape, tokens.dtype, scores.shape) == ((count, 1, max_length), np.int32, (count, 1))
    for image in range(count):
        words, score = by_hand(log_probs[image], limits)
        assert tokens[image, 0].tolist() == words
        assert scores[image, 0] == pytest.approx(score, abs=1e-12)


def test_finished_captions_leave_the_batch() -> None:
    captions = [[4, 5, 4], [], [6]]
    log_probs = np.full((3, 6, VOCAB, VOCAB), math.log(0.5 / (VOCAB - 1)))
    for image, caption in enumerate(captions):
        for t, (before, word) in enumerate(pairwise([START, *caption, END])):
            log_probs[image, t, before, word] = math.log(0.5)
    calls: list[list[int]] = []
    tokens, scores = greedy(chain(log_probs, calls), initial(3), max_length=6, **WORDS)
    assert tokens[:, 0].tolist() == [[4, 5, 4, 2, 0, 0], [2, 0, 0, 0, 0, 0], [6, 2, 0, 0, 0, 0]]
    assert calls == [[0, 1, 2], [0, 2], [0], [0]]
    np.testing.assert_allclose(scores[:, 0], np.log(0.5) * np.array([4, 1, 2]))
    calls.clear()
    tokens, _ = greedy(chain(log_probs, calls), initial(1), max_length=2, **WORDS)
    assert (tokens[0, 0].tolist(), calls) == ([4, 5], [[0], [0]])


@pytest.mark.parametrize("decoder", ["rnn", "lstm", "transformer"])
@pytest.mark.parametrize("decode", [greedy, partial(beam, width=3)], ids=["greedy", "beam"])
def test_captions_do_not_depend_on_the_batch(decode: Any, decoder: str) -> None:
    sizes = Sizes(12, 5, 4, 8, decoder, layers=2, heads=2, feed_forward=9)
    rng = np.random.default_rng(4)
    params = {name: 6 * w for name, w in initial_params(sizes, rng.standard_normal, np.float64).items()}
    params["W_embed"] /= params["W_embed"].std()
    m, features = DECODERS[decoder](sizes, params), rng.standard_normal((12, 5))
    run = partial(decode, m.step, max_length=10, constraints=Constraints([NULL, START]), **WORDS)
    tokens, scores = run(m.start(features))
    assert len({tuple(caption) for caption in tokens[:, 0].tolist()}) > 4, "captions differ in words and length"
    assert len(np.unique((tokens == END).argmax(axis=2))) > 2
    for n in range(len(features)):
        alone, scores_alone = run(m.start(features[[n]]))
        assert (alone[0] == tokens[n]).all()
        np.testing.assert_allclose(scores_alone[0], scores[n], atol=1e-12)
        for words, score in zip(tokens[n].tolist(), scores[n], strict=True):
            assert score == pytest.approx(log_prob(m, features[[n]], words))
