"""Decoding with a thread pool, also from several threads at a time."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from trees import WORDS, model

from captioner.decode import beam, greedy, parallel_decoding
from captioner.parallel.thread_pool import ThreadPool


@pytest.mark.parametrize("workers", [1, 2])
def test_several_threads_may_use_one_decoder(workers: int) -> None:
    """The workers reuse their buffers, so concurrent calls must not overlap."""
    rng = np.random.default_rng(0)
    run = parallel_decoding(model(0, hidden=64, vocab=500), ThreadPool(workers))
    decode = partial(greedy, max_length=30, **WORDS)
    batches = [rng.standard_normal((20, 4)) for _ in range(6)]
    alone = [run(decode, features) for features in batches]
    with ThreadPoolExecutor(len(batches)) as threads:
        together = [*threads.map(partial(run, decode), batches)]
    for (tokens, scores), (tokens_alone, scores_alone) in zip(together, alone, strict=True):
        np.testing.assert_array_equal(tokens, tokens_alone)
        np.testing.assert_array_equal(scores, scores_alone)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("decode", [greedy, partial(beam, width=3)])
@pytest.mark.parametrize("images", [1, 2, 7])
@pytest.mark.parametrize("decoder", ["lstm", "transformer"])
def test_parallel_decoding_does_not_depend_on_the_pool(size: int, decode: Any, images: int, decoder: str) -> None:
    m, features = model(0, decoder), np.random.default_rng(1).standard_normal((images, 4))
    tokens, scores = decode(m.for_inference().step, m.start(features), max_length=8, **WORDS)
    written, written_scores = parallel_decoding(m, ThreadPool(size))(partial(decode, max_length=8, **WORDS), features)
    np.testing.assert_array_equal(written, tokens)
    np.testing.assert_allclose(written_scores, scores, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_row_arrays_are_sharded_with_the_images(size: int) -> None:
    def decode(step: Any, state: Any, *rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert {len(array) for array in rows} == {len(state[0])}
        return np.stack(rows, axis=1), state[0][:, :1]

    m, features = model(0, "rnn"), np.random.default_rng(0).standard_normal((4, 4))
    numbers, states = parallel_decoding(m, ThreadPool(size))(decode, features, np.arange(4), np.arange(4) + 10)
    assert numbers.tolist() == [[0, 10], [1, 11], [2, 12], [3, 13]]
    np.testing.assert_allclose(states[:, 0], m.start(features)[0][:, 0], atol=1e-12)


def test_models_are_prepared_once_per_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    m, made = model(0, "rnn"), []
    original = m.for_inference
    monkeypatch.setattr(m, "for_inference", lambda: made.append(1) or original())
    run = parallel_decoding(m, ThreadPool(3))
    for images, models in ((1, 1), (1, 1), (5, 3), (2, 3)):
        assert run(partial(greedy, max_length=8, **WORDS), np.ones((images, 4)))[0].shape == (images, 1, 8)
        assert len(made) == models
    assert run(partial(beam, width=2, max_length=8, **WORDS), np.ones((4, 4)))[0].shape == (4, 2, 8)
    assert len(made) == 3, "another decoder uses the same models"
