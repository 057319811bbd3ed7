"""Ensembles: the mean of probabilities at every word, whatever the members are made of."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trees import NULL, START, WORDS, log_prob, model

from captioner.decode import Constraints, Ensemble, beam, greedy, sample
from captioner.decode.parallel import writer
from captioner.model.ensemble import log_mean
from captioner.parallel.thread_pool import ThreadPool

FEATURES = np.random.default_rng(5).standard_normal((7, 4))
DECODERS = {"greedy": greedy, "beam": partial(beam, width=3, length_penalty=0.5), "sample": partial(sample, samples=2)}


def mixed() -> list[Any]:
    return [model(0, "rnn", 5), model(1, "lstm", 8), model(2, "lstm", 3, dtype=np.float32)]


@given(seed=st.integers(0, 1000), count=st.integers(1, 4), rows=st.integers(0, 3))
def test_the_log_of_the_mean(seed: int, count: int, rows: int) -> None:
    arrays = [-np.random.default_rng((seed, m)).exponential(5, (rows, 6)) for m in range(count)]
    given_as = [array.copy() for array in arrays]
    np.testing.assert_allclose(log_mean(arrays), np.log(np.mean(np.exp(arrays), axis=0)), atol=1e-12)
    np.testing.assert_array_equal(arrays, given_as)


def test_a_mean_is_as_fine_as_its_finest_and_does_not_underflow() -> None:
    low = np.array([-1e4, -3.0], np.float32)
    assert log_mean([low, low]).tolist() == low.tolist()
    assert log_mean([low, low]).dtype == np.float32
    fine = log_mean([low, np.array([-np.inf, -2.0])])
    assert fine.dtype == np.float64
    np.testing.assert_allclose(fine, [-1e4 - np.log(2), np.log((np.exp(-3) + np.exp(-2)) / 2)])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", DECODERS)
def test_one_model_is_itself_and_so_are_twins(name: str, count: int) -> None:
    one, ensemble = model(3), Ensemble([model(3)] * count)
    found = [
        DECODERS[name](speaker.reader().step, speaker.start(FEATURES), max_length=6, **WORDS)
        for speaker in (one, ensemble)
    ]
    for got, expected in zip(*found, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_a_step_is_the_mean_of_the_members_probabilities() -> None:
    members = mixed()
    ensemble = Ensemble(members)
    readers, states = [one.reader() for one in members], [one.start(FEATURES) for one in members]
    reader, state = ensemble.reader(), ensemble.start(FEATURES)
    for tokens in ([1] * 7, [3, 4, 5, 6, 3, 2, 0]):
        told, state = reader.step(np.array(tokens), state)
        probabilities = []
        for m, own in enumerate(readers):
            log_probs, states[m] = own.step(np.array(tokens), states[m])
            probabilities.append(np.exp(log_probs))
        np.testing.assert_allclose(np.exp(told), np.mean(probabilities, axis=0), rtol=1e-6)
        np.testing.assert_allclose(np.exp(told).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("name", DECODERS)
def test_the_log_probability_is_that_of_the_words_and_no_members(name: str) -> None:
    ensemble = Ensemble(mixed())
    decode = partial(DECODERS[name], max_length=6, constraints=Constraints([NULL, START], no_repeat_ngram=1), **WORDS)
    tokens, scores = decode(ensemble.reader().step, ensemble.start(FEATURES))
    for row in range(7):
        for words, score in zip(tokens[row].tolist(), scores[row], strict=True):
            told = log_prob(ensemble, FEATURES[row : row + 1], words)
            assert score == pytest.approx(told, rel=1e-5)
            each = [log_prob(one, FEATURES[row : row + 1], words) for one in ensemble.members]
            # that of one word lies between the members', that of a caption is at least their mean
            assert told >= np.mean(each) - 1e-5


def test_losses_of_captions_of_several_lengths_are_those_of_each() -> None:
    ensemble = Ensemble(mixed())
    captions = np.array([[1, 3, 2, 0, 0], [1, 4, 5, 6, 2], [1, 2, 0, 0, 0]])
    losses = ensemble.word_losses(FEATURES[:3], captions, pool=ThreadPool(2))
    assert losses.shape == (7,)
    apart = [log_prob(ensemble, FEATURES[n : n + 1], captions[n, 1:].tolist()) for n in range(3)]
    assert losses.sum() == pytest.approx(-sum(apart), rel=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_a_team_writes_what_one_writes_and_ensembles_nest(name: str) -> None:
    first, second, third = mixed()
    whole, nested = Ensemble([first, second]), Ensemble([Ensemble([first, second]), third])
    decode = partial(DECODERS[name], max_length=6, **WORDS)
    for speaker in (whole, nested):
        tokens, scores = decode(speaker.reader().step, speaker.start(FEATURES))
        rest = (np.arange(7),) if name == "sample" else ()
        written, written_scores = writer(speaker, ThreadPool(3))(decode, FEATURES, *rest)
        assert (written == tokens).all()
        np.testing.assert_allclose(written_scores, scores, rtol=1e-5)
