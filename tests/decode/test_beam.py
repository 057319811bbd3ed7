"""Beam search: a width of one is greedy, a width of the whole tree is brute force, and between them the plain lists."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.decode import Constraints, State, beam, greedy
from captioner.model import CaptioningRNN
from captioner.parameters import Sizes, initial_params

Array = np.ndarray
Step = Callable[[Array, State], tuple[Array, State]]
NULL, START, END = range(3)
WORDS = {"start": START, "end": END, "null": NULL}


def table(seed: int, images: int, vocab: int, steps: int) -> Array:
    """Log-probabilities of the next word by image, number of words before, and word before."""
    scores = 2 * np.random.default_rng(seed).standard_normal((images, steps, vocab, vocab))
    log_probs: Array = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return log_probs


def chain(log_probs: Array, seen: list[list[int]] | None = None) -> Step:
    def step(tokens: Array, state: State) -> tuple[Array, State]:
        image, read = state
        if seen is not None:
            seen.append(image.tolist())
        return log_probs[image, read, tokens], (image, read + 1)

    return step


def initial(images: int) -> State:
    return np.arange(images), np.zeros(images, int)


def plain(log_probs: Array, width: int, banned: list[int]) -> list[tuple[float, list[int]]]:
    """Beam search over one image with lists, never dropping a beam before the end."""
    live, done = [(0.0, [START])], []
    for t in range(len(log_probs)):
        candidates = [
            (score + log_probs[t, words[-1], v], [*words, v])
            for score, words in live
            for v in range(log_probs.shape[-1])
            if v not in banned
        ]
        best = sorted(candidates, reverse=True)[: 2 * width]
        done += [c for c in best[:width] if c[1][-1] == END]
        live = [c for c in best if c[1][-1] != END][:width]
    return [(score, words[1:]) for score, words in sorted(done + live, reverse=True)[:width]]


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 10_000),
    images=st.integers(0, 4),
    vocab=st.integers(3, 6),
    steps=st.integers(1, 5),
    width=st.integers(1, 5),
    banned=st.sets(st.sampled_from([NULL, START]), max_size=2),
)
def test_it_is_the_plain_search(seed: int, images: int, vocab: int, steps: int, width: int, banned: set[int]) -> None:
    log_probs = table(seed, images, vocab, steps)
    tokens, scores = beam(
        chain(log_probs),
        initial(images),
        max_length=steps,
        width=width,
        constraints=Constraints(sorted(banned)),
        **WORDS,
    )
    assert tokens.shape == (images, width, steps)
    assert (tokens.dtype, scores.shape) == (np.int32, (images, width))
    for image in range(images):
        expected = plain(log_probs[image], width, sorted(banned))
        found = np.isfinite(scores[image])
        assert found.sum() == len(expected)
        np.testing.assert_allclose(scores[image][found], [score for score, _ in expected], atol=1e-12)
        padded = [words + [NULL] * (steps - len(words)) for _, words in expected]
        assert tokens[image][found].tolist() == padded
        assert (tokens[image][~found] == NULL).all()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), images=st.integers(0, 5), steps=st.integers(0, 6))
def test_a_beam_of_one_is_greedy(seed: int, images: int, steps: int) -> None:
    log_probs = table(seed, images, 6, max(1, steps))
    expected = greedy(chain(log_probs), initial(images), max_length=steps, constraints=Constraints([NULL]), **WORDS)
    got = beam(chain(log_probs), initial(images), max_length=steps, width=1, constraints=Constraints([NULL]), **WORDS)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seed", range(10))
def test_a_beam_as_wide_as_the_tree_is_brute_force(seed: int) -> None:
    vocab, steps = 4, 3
    log_probs = table(seed, 2, vocab, steps)
    tokens, scores = beam(chain(log_probs), initial(2), max_length=steps, width=vocab**steps, **WORDS)
    for image in range(2):
        every = {}
        for words in itertools.product(range(vocab), repeat=steps):
            caption = words[: words.index(END) + 1] if END in words else words
            before = [START, *caption]
            every[caption] = sum(log_probs[image, t, before[t], v] for t, v in enumerate(caption))
        best = sorted(every.items(), key=lambda item: -item[1])
        assert np.isfinite(scores[image]).sum() == len(best)
        np.testing.assert_allclose(scores[image, : len(best)], [score for _, score in best], atol=1e-12)
        first = best[0][0]
        assert tokens[image, 0].tolist() == [*first, *[NULL] * (steps - len(first))]


def test_a_wider_beam_finds_what_greed_misses() -> None:
    log_probs = np.full((1, 2, 5, 5), math.log(1e-9))
    log_probs[0, 0, START, [3, 4]] = np.log([0.6, 0.4])
    log_probs[0, 1, 3, [3, 4, END]] = np.log([0.3, 0.3, 0.3])
    log_probs[0, 1, 4, END] = math.log(0.9)
    tokens, scores = beam(chain(log_probs), initial(1), max_length=2, width=2, **WORDS)
    assert tokens[0, 0].tolist() == [4, END]
    assert scores[0, 0] == pytest.approx(math.log(0.4 * 0.9))


def test_a_beam_that_cannot_win_leaves_the_batch() -> None:
    log_probs = np.full((2, 4, 5, 5), math.log(0.1))
    log_probs[0, 0, START, END] = log_probs[0, 0, START, 3] = math.log(0.4)
    log_probs[0, 1, 3, END] = math.log(0.9)
    seen: list[list[int]] = []
    beam(chain(log_probs, seen), initial(2), max_length=4, width=2, **WORDS)
    assert seen[0] == [0, 1]
    assert seen[1] == [0, 0, 1, 1]
    assert all(0 not in images for images in seen[2:])
    assert len(seen) == 4


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_batch_is_its_images_one_by_one(cell: str) -> None:
    sizes = Sizes(vocab=12, feature=5, wordvec=4, hidden=8, cell=cell)
    rng = np.random.default_rng(3)
    params = {name: 6 * w for name, w in initial_params(sizes, rng.standard_normal, np.float64).items()}
    params["W_embed"] *= 16
    model, features = CaptioningRNN(sizes, params), rng.standard_normal((9, 5))

    def decode(rows: Array) -> tuple[Array, Array]:
        return beam(
            model.step, model.start(rows), max_length=10, width=3, constraints=Constraints([NULL, START]), **WORDS
        )

    tokens, scores = decode(features)
    assert len({tuple(t) for t in tokens[:, 0].tolist()}) > 4
    for n in range(len(features)):
        alone, score = decode(features[n : n + 1])
        assert (alone[0] == tokens[n]).all()
        np.testing.assert_allclose(score[0], scores[n], atol=1e-12)
        for words, log_prob in zip(tokens[n].tolist(), scores[n], strict=True):
            caption = words[: words.index(END) + 1] if END in words else words
            losses = model.word_losses(features[n : n + 1], np.array([[START, *caption]]))
            assert log_prob == pytest.approx(-float(losses.sum()))
