"""Greedy decoding against a loop over a table of log-probabilities, and with a model image by image."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.decode import Constraints, State, greedy
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params

Array = np.ndarray
NULL, START, END, UNK = range(4)
WORDS = {"start": START, "end": END, "null": NULL}
VOCAB = 7


def markov(seed: int) -> Array:
    """Random log-probabilities of the next word by image, step and previous word."""
    scores = 2 * np.random.default_rng(seed).standard_normal((5, 9, VOCAB, VOCAB))
    table: Array = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return table


def chain(table: Array, calls: list[State] | None = None):  # type: ignore[no-untyped-def]
    """A step function whose state is the image of each row and the number of words fed to it."""

    def step(tokens: Array, state: State) -> tuple[Array, State]:
        image, t = state
        assert len(tokens) == len(image) == len(t)
        if calls is not None:
            calls.append(state)
        return table[image, t % table.shape[1], tokens], (image, t + 1)

    return step


def initial(count: int) -> State:
    return np.arange(count), np.zeros(count, int)


def by_hand(table: Array, image: int, banned: list[int], max_length: int) -> tuple[list[int], float]:
    words, score = [START], 0.0
    while len(words) <= max_length and words[-1] != END:
        log_probs = table[image, (len(words) - 1) % table.shape[1], words[-1]]
        best = max((v for v in range(VOCAB) if v not in banned), key=lambda v: (log_probs[v], -v))
        score += log_probs[best]
        words.append(best)
    return words[1:] + [NULL] * (max_length - len(words) + 1), score


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(0, 5),
    max_length=st.integers(0, 9),
    banned=st.sets(st.sampled_from([NULL, START, UNK, 4, 5]), max_size=5),
)
def test_greedy_matches_a_loop(seed: int, count: int, max_length: int, banned: set[int]) -> None:
    table = markov(seed)
    tokens, scores = greedy(
        chain(table),
        initial(count),
        max_length=max_length,
        constraints=Constraints(sorted(banned)),
        **WORDS,
    )
    assert tokens.shape == (count, 1, max_length)
    assert tokens.dtype == np.int32
    assert scores.shape == (count, 1)
    for image in range(count):
        words, score = by_hand(table, image, sorted(banned), max_length)
        assert tokens[image, 0].tolist() == words
        assert scores[image, 0] == pytest.approx(score, abs=1e-12)


def table_for(*words: list[int]) -> Array:
    """Log-probabilities under which each image's caption is its words and `<END>`."""
    table = np.full((len(words), 9, VOCAB, VOCAB), math.log(0.5 / (VOCAB - 1)))
    for image, caption in enumerate(words):
        for t, (before, word) in enumerate(pairwise([START, *caption, END])):
            table[image, t, before, word] = math.log(0.5)
    return table


def test_finished_captions_leave_the_batch() -> None:
    calls: list[State] = []
    tokens, scores = greedy(chain(table_for([4, 5, 4], [], [6]), calls), initial(3), max_length=6, **WORDS)
    assert tokens[:, 0].tolist() == [[4, 5, 4, 2, 0, 0], [2, 0, 0, 0, 0, 0], [6, 2, 0, 0, 0, 0]]
    assert [image.tolist() for image, _ in calls] == [[0, 1, 2], [0, 2], [0], [0]]
    np.testing.assert_allclose(scores[:, 0], np.log(0.5) * np.array([4, 1, 2]))


def test_max_length_truncates_a_caption() -> None:
    calls: list[State] = []
    tokens, scores = greedy(chain(table_for([4, 5, 6, 4]), calls), initial(1), max_length=2, **WORDS)
    assert tokens[0, 0].tolist() == [4, 5]
    assert len(calls) == 2
    np.testing.assert_allclose(scores, 2 * np.log(0.5))


def test_a_banned_word_is_replaced_by_the_next_most_probable() -> None:
    table = table_for([UNK])
    table[0, 0, START, 5] = math.log(0.4)
    free, _ = greedy(chain(table), initial(1), max_length=1, **WORDS)
    without, scores = greedy(
        chain(table),
        initial(1),
        max_length=1,
        constraints=Constraints([UNK]),
        **WORDS,
    )
    assert free[0, 0].tolist() == [UNK]
    assert without[0, 0].tolist() == [5]
    np.testing.assert_allclose(scores, np.log(0.4))


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_captions_do_not_depend_on_the_batch(cell: str) -> None:
    sizes = Sizes(vocab=12, feature=5, wordvec=4, hidden=8, cell=cell)
    rng = np.random.default_rng(3)
    params = {name: 6 * w for name, w in initial_params(sizes, rng.standard_normal, np.float64).items()}
    params["W_embed"] *= 16
    model, features = CaptioningRNN(sizes, params), rng.standard_normal((12, 5))

    def decode(rows: Array) -> tuple[Array, Array]:
        return greedy(
            model.step,
            model.start(rows),
            max_length=10,
            constraints=Constraints([NULL, START]),
            **WORDS,
        )

    tokens, scores = decode(features)
    # The test needs captions that differ in words and length.
    assert len({tuple(t) for t in tokens[:, 0].tolist()}) > 6
    assert len(set((tokens[:, 0] == END).argmax(axis=1).tolist())) > 2
    for n in range(len(features)):
        alone, score = decode(features[n : n + 1])
        assert (alone[0] == tokens[n]).all()
        np.testing.assert_allclose(score[0], scores[n], atol=1e-12)
        assert scores[n, 0] == pytest.approx(sum_of_log_probs(model, features[n : n + 1], tokens[n, 0].tolist()))


def sum_of_log_probs(model: CaptioningRNN, feature: Array, tokens: list[int]) -> float:
    """The log-probability of a caption by teacher forcing."""
    words = tokens[: tokens.index(END) + 1] if END in tokens else tokens
    return -float(model.word_losses(feature, np.array([[START, *words]])).sum())
