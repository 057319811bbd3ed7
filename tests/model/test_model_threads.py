"""Threads: results do not depend on the pool, and are bit-identical for the same size."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioner.layers import CELLS
from captioner.layers.dropout import Dropout
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.parameters import Sizes, initial_params
from captioner.parallel.thread_pool import ThreadPool

POOLS = [ThreadPool(size) for size in (1, 2, 3)]


@pytest.fixture(autouse=True)
def _shard_every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.parallel.thread_pool.MIN_PARALLEL", 0)


def model(cell: str, dropout: Dropout) -> CaptioningRNN:
    sizes = Sizes(vocab=9, feature=4, wordvec=3, hidden=5, cell=cell)
    params = initial_params(sizes, np.random.default_rng(0).standard_normal, np.float64)
    return CaptioningRNN(sizes, params, dropout=dropout)


@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    captions=st.integers(1, 7),
    columns=st.integers(1, 6),
    pool=st.sampled_from(POOLS),
    drop=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_results_do_not_depend_on_the_number_of_threads(
    cell: str, captions: int, columns: int, pool: ThreadPool, drop: float, seed: int
) -> None:
    """With `<NULL>` anywhere, empty captions, dropout, and fewer captions than threads."""
    rng = np.random.default_rng(seed)
    one = model(cell, Dropout(drop, drop, drop))
    batch = rng.standard_normal((captions, 4)), rng.integers(0, 9, (captions, columns))
    loss, grads = one.loss(*batch, np.random.default_rng(seed))
    sharded, sharded_grads = one.loss(*batch, np.random.default_rng(seed), pool)
    assert sharded == pytest.approx(loss, rel=1e-12)
    for name, gradient in grads.items():
        np.testing.assert_allclose(sharded_grads[name], gradient, rtol=1e-10, atol=1e-13, err_msg=name)
    losses = one.word_losses(*batch, pool)
    np.testing.assert_allclose(np.sort(losses), np.sort(one.word_losses(*batch)), rtol=1e-12)


def test_results_are_bit_identical_for_the_same_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    one, pool = model("lstm", Dropout(0.5, 0.5, 0.5)), POOLS[1]
    batch = rng.standard_normal((40, 4)), rng.integers(1, 9, (40, 12))
    first, *others = (one.loss(*batch, np.random.default_rng(1), pool)[1] for _ in range(6))
    for grads in others:
        for name, gradient in grads.items():
            np.testing.assert_array_equal(gradient, first[name], err_msg=name)
