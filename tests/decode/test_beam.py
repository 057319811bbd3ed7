"""Beam search against greedy decoding, exhaustive search and a reference implementation."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import END, NULL, START, WORDS, allowed, captions, chain, constraints, initial, log_prob, model, table

from captioner.decode import UNCONSTRAINED, Constraints, beam, greedy
from captioner.model.ensemble import Ensemble

Array = np.ndarray
PENALTIES = st.sampled_from([0.0, 0.5, 1.0, 1.7])
GUIDANCE = st.sampled_from([0.0, 0.5, 3.0])


def bonuses(seed: int, weight: float, images: int, vocab: int) -> Array:
    """Random bonuses of the words of each image, positive and negative."""
    return weight * np.random.default_rng([seed, 1]).standard_normal((images, vocab))


def total(caption: tuple[float, list[int]], bonus: Array) -> float:
    score, words = caption
    return score + sum(bonus[word] for word in set(words))


def reference(
    log_probs: Array, width: int, limits: Constraints, penalty: float, bonus: Array
) -> list[tuple[float, list[int]]]:
    """Beam search over one image with lists and without pruning."""
    live: list[tuple[float, list[int]]] = [(0.0, [])]
    done: list[tuple[float, list[int]]] = []
    for t in range(len(log_probs)):
        candidates = [
            (score + log_probs[t, words[-1] if words else START, v], [*words, v])
            for score, words in live
            for v in allowed(words, limits, log_probs.shape[-1])
        ]
        best = ranked(candidates, 0.0, bonus)[: 2 * width if width > 1 else 1]
        done += [c for c in best[:width] if c[1][-1] == END]
        live = [c for c in best if c[1][-1] != END][:width]
    return ranked(done + live, penalty, bonus)[:width]


def ranked(scored: list[tuple[float, list[int]]], penalty: float, bonus: Array) -> list[tuple[float, list[int]]]:
    return sorted(scored, key=lambda caption: total(caption, bonus) / len(caption[1]) ** penalty, reverse=True)


def search(
    log_probs: Array,
    width: int,
    limits: Constraints = UNCONSTRAINED,
    penalty: float = 0.0,
    guidance: Array | None = None,
) -> Any:
    images, steps, *_ = log_probs.shape
    options = {"width": width, "length_penalty": penalty, "constraints": limits, "max_length": steps}
    return beam(chain(log_probs), initial(images), guidance, **options, **WORDS)


def padded(words: list[int], steps: int) -> list[int]:
    return words + [NULL] * (steps - len(words))


@given(
    seed=st.integers(0, 10_000),
    images=st.integers(0, 4),
    vocab=st.integers(4, 6),
    steps=st.integers(1, 5),
    width=st.integers(1, 5),
    limits=constraints(),
    penalty=PENALTIES,
    weight=GUIDANCE,
)
def test_beam_search_matches_the_reference(
    seed: int, images: int, vocab: int, steps: int, width: int, limits: Constraints, penalty: float, weight: float
) -> None:
    log_probs, bonus = table(seed, images, vocab, steps), bonuses(seed, weight, images, vocab)
    tokens, scores = search(log_probs, width, limits, penalty, bonus)
    assert tokens.shape == (images, width, steps)
    assert (tokens.dtype, scores.shape) == (np.int32, (images, width))
    for image in range(images):
        expected = reference(log_probs[image], width, limits, penalty, bonus[image])
        count = np.isfinite(scores[image]).sum()
        assert count == len(expected)
        np.testing.assert_allclose(scores[image, :count], [score for score, _ in expected], atol=1e-12)
        assert tokens[image, :count].tolist() == [padded(words, steps) for _, words in expected]
        assert (tokens[image, count:] == NULL).all()


@given(seed=st.integers(0, 10_000), width=st.integers(1, 5), limits=constraints(), penalty=PENALTIES)
def test_guidance_0_equals_no_guidance(seed: int, width: int, limits: Constraints, penalty: float) -> None:
    log_probs = table(seed, 3, 6, 5).astype(np.float32)
    expected = search(log_probs, width, limits, penalty)
    for a, b in zip(search(log_probs, width, limits, penalty, np.zeros((3, 6))), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@given(
    seed=st.integers(0, 10_000),
    images=st.integers(0, 5),
    steps=st.integers(0, 6),
    limits=constraints(),
    penalty=PENALTIES,
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_width_1_is_greedy(
    seed: int, images: int, steps: int, limits: Constraints, penalty: float, dtype: type
) -> None:
    log_probs = table(seed, images, 6, steps).astype(dtype)
    expected = greedy(chain(log_probs), initial(images), max_length=steps, constraints=limits, **WORDS)
    for a, b in zip(search(log_probs, 1, limits, penalty), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@given(
    seed=st.integers(0, 10_000),
    vocab=st.integers(4, 5),
    steps=st.integers(1, 3),
    limits=constraints(),
    penalty=PENALTIES,
    weight=GUIDANCE,
)
def test_a_beam_as_wide_as_the_tree_is_exhaustive_search(
    seed: int, vocab: int, steps: int, limits: Constraints, penalty: float, weight: float
) -> None:
    log_probs, bonus = table(seed, 2, vocab, steps), bonuses(seed, weight, 2, vocab)
    tokens, scores = search(log_probs, vocab**steps, limits, penalty, bonus)
    for image in range(2):
        every = [(score, words) for words, score in captions(log_probs[image], limits)]
        every = ranked(every, penalty, bonus[image])
        assert np.isfinite(scores[image]).sum() == len(every)
        np.testing.assert_allclose(scores[image, : len(every)], [score for score, _ in every], atol=1e-12)
        assert tokens[image, : len(every)].tolist() == [padded(words, steps) for _, words in every]


@pytest.mark.parametrize("penalty", [0.0, 0.8])
@pytest.mark.parametrize("weight", [0.0, 2.0])
@pytest.mark.parametrize("kind", ["rnn", "lstm", "transformer", "ensemble"])
def test_a_beam_as_wide_as_the_tree_finds_the_best_captions_of_a_model(
    kind: str, weight: float, penalty: float
) -> None:
    m = (
        Ensemble([model(0, "rnn", hidden=5, vocab=5), model(1, "lstm", vocab=5)])
        if kind == "ensemble"
        else model(2, kind, vocab=5)
    )
    feature, steps, limits = np.random.default_rng(3).standard_normal((1, 4)), 4, Constraints([NULL, START], 1, 2)
    every = [(log_prob(m, feature, words), words) for words, _ in captions(np.zeros((steps, 5, 5)), limits)]
    bonus = bonuses(4, weight, 1, 5)
    best = ranked(every, penalty, bonus[0])[:9]
    options = {"width": 3**steps, "length_penalty": penalty, "constraints": limits, "max_length": steps}
    tokens, scores = beam(m.for_inference().step, m.start(feature), bonus, **options, **WORDS)
    assert tokens[0, :9].tolist() == [padded(words, steps) for _, words in best]
    np.testing.assert_allclose(scores[0, :9], [score for score, _ in best], atol=1e-10)


def test_length_normalisation_prefers_longer_captions() -> None:
    log_probs = np.full((1, 3, 4, 4), math.log(1e-9))
    log_probs[0, 0, START, [END, 3]] = np.log([0.5, 0.4])
    log_probs[0, 1:, 3, 3] = math.log(0.9)
    log_probs[0, 2, 3, END] = math.log(0.05)
    for penalty, words in ((0.0, [END, NULL, NULL]), (1.0, [3, 3, 3])):
        tokens, scores = search(log_probs, 2, penalty=penalty)
        assert tokens[0, 0].tolist() == words
        expected = math.log(0.5) if penalty == 0 else math.log(0.4 * 0.9 * 0.9)
        assert scores[0, 0] == pytest.approx(expected), "scores are not length-normalized"


def test_a_wider_beam_finds_a_better_caption_than_greedy() -> None:
    log_probs = np.full((1, 2, 5, 5), math.log(1e-9))
    log_probs[0, 0, START, [3, 4]] = np.log([0.6, 0.4])
    log_probs[0, 1, 3, [3, 4, END]] = np.log([0.3, 0.3, 0.3])
    log_probs[0, 1, 4, END] = math.log(0.9)
    tokens, scores = search(log_probs, 2)
    assert tokens[0, 0].tolist() == [4, END]
    assert scores[0, 0] == pytest.approx(math.log(0.4 * 0.9))


def test_beams_that_cannot_win_are_pruned() -> None:
    log_probs = np.full((2, 4, 5, 5), math.log(0.1))
    log_probs[0, 0, START, END] = log_probs[0, 0, START, 3] = math.log(0.4)
    log_probs[0, 1, 3, END] = math.log(0.9)
    calls: list[list[int]] = []
    beam(chain(log_probs, calls), initial(2), max_length=4, width=2, **WORDS)
    assert calls[0] == [0, 1]
    assert calls[1] == [0, 0, 1, 1]
    assert all(0 not in images for images in calls[2:])
    assert len(calls) == 4
