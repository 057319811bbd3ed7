"""Sampling: frequencies, noise by image and sample, and log-probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import END, START, WORDS, allowed, chain, constraints, initial, table

from captioner.decode import Constraints, greedy, sample
from captioner.decode.greedy_and_sampling import sample_words, uniform_noise

Array = np.ndarray


def probabilities(log_probs: Array, temperature: float, top_k: int | None, top_p: float) -> Array:
    """Reference implementation of temperature, top-k and nucleus truncation."""
    order = sorted(range(len(log_probs)), key=lambda v: (-log_probs[v], v))[:top_k]
    weight = {v: np.exp((log_probs[v] - log_probs.max()) / temperature) for v in order}
    kept, total, whole = [], 0.0, sum(weight.values())
    for v in order:
        if total >= top_p * whole:
            break
        kept.append(v)
        total += weight[v]
    return np.array([weight[v] / total if v in kept else 0.0 for v in range(len(log_probs))])


@given(
    seed=st.integers(0, 10_000),
    vocab=st.integers(1, 9),
    temperature=st.sampled_from([0.01, 0.3, 1.0, 2.5, 100.0]),
    top_k=st.none() | st.integers(1, 12),
    top_p=st.sampled_from([1.0, 0.9, 0.5, 0.001]),
    forbidden=st.integers(0, 8),
)
def test_word_frequencies_match_the_probabilities(
    seed: int, vocab: int, temperature: float, top_k: int | None, top_p: float, forbidden: int
) -> None:
    count, log_probs = 4000, np.log(np.random.default_rng(seed).dirichlet(np.ones(vocab)))
    log_probs[:forbidden][: vocab - 1] = -np.inf
    even = (np.arange(count) + 0.5) / count  # a uniform grid: frequencies are exact to 1 / 4000
    words = sample_words(np.tile(log_probs, (count, 1)), even, temperature, top_k, top_p)
    shares = np.bincount(words, minlength=vocab) / count
    np.testing.assert_allclose(shares, probabilities(log_probs, temperature, top_k, top_p), atol=1.01 / count)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("top_k", "top_p"), [(None, 1.0), (5, 1.0), (None, 0.9)])
def test_extreme_noise_samples_allowed_words(dtype: type, top_k: int | None, top_p: float) -> None:
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(50), 200)).astype(dtype)
    log_probs[:, [0, 1, 48, 49]] = -np.inf
    for uniform in (0.0, 1 - 2.0**-53, 1.0):
        words = sample_words(log_probs, np.full(200, uniform), 1.0, top_k, top_p)
        assert np.isfinite(log_probs[np.arange(200), words]).all()


def test_ties_are_truncated_in_the_order_of_greedy() -> None:
    log_probs = np.log(np.full((3, 4), 0.25))
    assert sample_words(log_probs, np.array([0.0, 0.5, 0.99]), 1.0, 1, 1.0).tolist() == [0, 0, 0]
    assert sample_words(log_probs, np.array([0.0, 0.6, 0.99]), 1.0, None, 0.5).tolist() == [0, 1, 1]


@given(
    seed=st.integers(0, 2**63 - 1),
    images=st.lists(st.integers(0, 2**64 - 1), max_size=4, unique=True),
    samples=st.integers(1, 4),
    steps=st.integers(0, 6),
)
def test_noise_is_a_function_of_seed_image_sample_and_step(
    seed: int, images: list[int], samples: int, steps: int
) -> None:
    rows = uniform_noise(seed, np.array(images, np.uint64), samples, steps).reshape(len(images), samples, steps)
    more = uniform_noise(seed, np.array([5, *images[::-1]], np.uint64), samples + 2, steps + 9)
    more = more.reshape(len(images) + 1, samples + 2, steps + 9)
    assert (rows[::-1] == more[1:, :samples, :steps]).all()
    assert ((more >= 0) & (more < 1)).all()
    assert len(np.unique(more[0])) == more[0].size, "samples have different noise"
    assert (uniform_noise(seed + 1, np.array([5]), 1, 9) != more[0, 0, :9]).all()


def test_noise_is_uniform_and_uncorrelated() -> None:
    rows = uniform_noise(0, np.arange(200), 5, 20)
    assert rows.mean() == pytest.approx(0.5, abs=0.01)
    assert rows.var() == pytest.approx(1 / 12, abs=0.002)
    correlations = np.corrcoef(np.stack([rows[:-1, :-1], rows[1:, :-1], rows[:-1, 1:]]).reshape(3, -1))
    assert np.abs(correlations - np.eye(3)).max() < 0.03


@given(seed=st.integers(0, 10_000), images=st.integers(0, 4), steps=st.integers(1, 5), limits=constraints())
def test_samples_are_allowed_captions_with_their_log_probabilities(
    seed: int, images: int, steps: int, limits: Constraints
) -> None:
    log_probs = table(seed, images, 6, steps)
    settings = {"temperature": 0.7, "top_k": 4, "top_p": 0.9, "seed": seed, "constraints": limits}
    tokens, scores = sample(chain(log_probs), initial(images), max_length=steps, samples=3, **settings, **WORDS)
    assert (tokens.shape, tokens.dtype, scores.shape) == ((images, 3, steps), np.int32, (images, 3))
    assert (np.diff(scores) <= 0).all()
    for image in range(images):
        for row, score in zip(tokens[image].tolist(), scores[image], strict=True):
            words = row[: row.index(END) + 1] if END in row else row
            assert all(word in allowed(words[:t], limits, 6) for t, word in enumerate(words))
            before = [START, *words[:-1]]
            expected = sum(log_probs[image, range(len(words)), before, words])
            assert score == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 10_000), limits=constraints())
def test_truncation_to_one_word_is_greedy(seed: int, limits: Constraints) -> None:
    log_probs = table(seed, 4, 6, 5)
    expected = greedy(chain(log_probs), initial(4), max_length=5, constraints=limits, **WORDS)
    for cut in ({"top_k": 1}, {"top_p": 1e-9}):
        got = sample(chain(log_probs), initial(4), max_length=5, constraints=limits, seed=seed, **cut, **WORDS)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cut", [{}, {"top_k": 4, "temperature": 1.5}, {"top_p": 0.8}])
def test_captions_do_not_depend_on_the_batch(cut: dict[str, float]) -> None:
    log_probs = table(1, 6, 6, 5)
    images = np.array([40, 7, 2**63, 9, 0, 1], np.uint64)

    def drawn(rows: list[int], samples: int = 2) -> tuple[Array, Array]:
        state = (np.array(rows), (np.zeros(len(rows), int),))
        return sample(chain(log_probs), state, images[rows], max_length=5, samples=samples, seed=3, **cut, **WORDS)

    tokens, scores = drawn([0, 1, 2, 3, 4, 5])
    assert len({tuple(row) for row in tokens.reshape(-1, 5).tolist()}) > 6
    for rows in ([3], [5, 0], [4, 3, 2, 1, 0]):
        alone, scores_alone = drawn(rows)
        assert (alone == tokens[rows]).all()
        assert (scores_alone == scores[rows]).all()
    more = {tuple(row) for row in drawn([0], 5)[0][0].tolist()}
    assert {tuple(row) for row in tokens[0].tolist()} <= more


def test_seeds_and_samples_differ_and_seeds_are_reproducible() -> None:
    log_probs = table(2, 30, 6, 6)

    def drawn(seed: int) -> Array:
        return sample(chain(log_probs), initial(30), max_length=6, samples=2, seed=seed, **WORDS)[0]

    assert (drawn(0) == drawn(0)).all()
    assert (drawn(0) != drawn(1)).any(axis=(1, 2)).sum() > 20
    assert (drawn(0)[:, 0] != drawn(0)[:, 1]).any(axis=1).sum() > 20
