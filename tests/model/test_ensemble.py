"""Ensembles average the probabilities of each word, for members of any size and decoder."""

from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import NULL, START, WORDS, log_prob, model

from captioner.arrays import Array, Batch, SharedRows
from captioner.decode import Constraints, beam, greedy, parallel_decoding, sample
from captioner.layers import CELLS
from captioner.model.ensemble import Ensemble, log_mean
from captioner.parallel.thread_pool import ThreadPool

FEATURES = np.random.default_rng(5).standard_normal((7, 4))
DECODERS = {"greedy": greedy, "beam": partial(beam, width=3, length_penalty=0.5), "sample": partial(sample, samples=2)}


def mixed() -> list[Any]:
    return [model(0, "rnn", hidden=5), model(1, "lstm", hidden=8), model(2, "transformer", hidden=4, dtype=np.float32)]


@given(seed=st.integers(0, 1000), count=st.integers(1, 4), rows=st.integers(0, 3))
def test_the_log_of_the_mean(seed: int, count: int, rows: int) -> None:
    arrays = [-np.random.default_rng((seed, m)).exponential(5, (rows, 6)) for m in range(count)]
    copies = [array.copy() for array in arrays]
    np.testing.assert_allclose(log_mean(arrays), np.log(np.mean(np.exp(arrays), axis=0)), atol=1e-12)
    np.testing.assert_array_equal(arrays, copies)


def test_log_mean_has_the_widest_dtype_and_does_not_underflow() -> None:
    low = np.array([-1e4, -3.0], np.float32)
    assert log_mean([low, low]).tolist() == low.tolist()
    assert log_mean([low, low]).dtype == np.float32
    mixed_dtypes = log_mean([low, np.array([-np.inf, -2.0])])
    assert mixed_dtypes.dtype == np.float64
    np.testing.assert_allclose(mixed_dtypes, [-1e4 - np.log(2), np.log((np.exp(-3) + np.exp(-2)) / 2)])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", DECODERS)
def test_an_ensemble_of_equal_models_is_the_model(name: str, count: int) -> None:
    decode = partial(DECODERS[name], max_length=6, **WORDS)
    single, ensemble = (
        decode(m.for_inference().step, m.start(FEATURES)) for m in (model(3), Ensemble([model(3)] * count))
    )
    for expected, got in zip(single, ensemble, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_step_averages_the_members_probabilities() -> None:
    members = mixed()
    ensemble = Ensemble(members)
    inference, states = [m.for_inference() for m in members], [m.start(FEATURES) for m in members]
    whole, state = ensemble.for_inference(), ensemble.start(FEATURES)
    for tokens in ([1] * 7, [3, 4, 5, 6, 3, 2, 0]):
        averaged, state = whole.step(np.array(tokens), state)
        probabilities = []
        for m, member in enumerate(inference):
            log_probs, states[m] = member.step(np.array(tokens), states[m])
            probabilities.append(np.exp(log_probs))
        np.testing.assert_allclose(np.exp(averaged), np.mean(probabilities, axis=0), rtol=1e-6)
        np.testing.assert_allclose(np.exp(averaged).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", DECODERS)
def test_scores_are_the_log_probabilities_of_the_ensemble(name: str) -> None:
    ensemble = Ensemble(mixed())
    decode = partial(DECODERS[name], max_length=6, constraints=Constraints([NULL, START], no_repeat_ngram=1), **WORDS)
    tokens, scores = decode(ensemble.for_inference().step, ensemble.start(FEATURES))
    for row in range(7):
        for words, score in zip(tokens[row].tolist(), scores[row], strict=True):
            expected = log_prob(ensemble, FEATURES[row : row + 1], words)
            assert score == pytest.approx(expected, rel=1e-5)
            each = [log_prob(m, FEATURES[row : row + 1], words) for m in ensemble.members]
            # by Jensen's inequality
            assert expected >= np.mean(each) - 1e-5


KINDS = [(decoder, attention) for decoder in (*CELLS, "transformer") for attention in ("none", "adaptive")]


@pytest.mark.parametrize("pair", list(combinations_with_replacement(KINDS, 2)), ids=str)
def test_word_losses_do_not_depend_on_the_number_of_threads(pair: tuple[tuple[str, str], ...]) -> None:
    """A pool packs the captions of models that attend by image, and those of others by length."""
    members = [model(m, *kind) for m, kind in enumerate(pair)]
    rng, image = np.random.default_rng(0), np.array([2, 0, 2, 1, 0, 1, 1])
    captions = np.where(np.arange(7) <= [[3], [6], [1], [4], [2], [0], [3]], rng.integers(1, 7, (7, 7)), 0)
    captions[1, 3] = 0
    batch = Batch(FEATURES[image], captions, SharedRows(rng.standard_normal((3, 5, 3)), image))
    mean = -log_mean([-member.word_losses(batch) for member in members])
    for n, caption in enumerate(captions):
        alone = Batch(batch.features[[n]], caption[None], SharedRows(batch.regions.values, image[[n]]))
        np.testing.assert_allclose(Ensemble(members).word_losses(alone).sum(), mean[word_rows(captions) == n].sum())
    for size in (1, 2, 3):
        np.testing.assert_allclose(Ensemble(members).word_losses(batch, ThreadPool(size)), mean, rtol=1e-12)


def word_rows(captions: Array) -> Array:
    """Return the caption of each unmasked word."""
    return np.argwhere(captions[:, 1:] > 0)[:, 0]


@pytest.mark.parametrize("name", DECODERS)
def test_parallel_decoding_and_nested_ensembles(name: str) -> None:
    first, second, third = mixed()
    whole, nested = Ensemble([first, second]), Ensemble([Ensemble([first, second]), third])
    decode = partial(DECODERS[name], max_length=6, **WORDS)
    for either in (whole, nested):
        tokens, scores = decode(either.for_inference().step, either.start(FEATURES))
        rest = (np.arange(7),) if name == "sample" else ()
        written, written_scores = parallel_decoding(either, ThreadPool(3))(decode, FEATURES, *rest)
        assert (written == tokens).all()
        np.testing.assert_allclose(written_scores, scores, rtol=1e-5)
