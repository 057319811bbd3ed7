"""A team computes what one computes, whatever its size, and the same to the bit for the same size."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioner.layers import CELLS
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.dropout import Dropout
from captioner.model.parameters import Sizes, initial_params
from captioner.parallel.buffers import Workspace
from captioner.parallel.thread_pool import ThreadPool

TEAMS = [ThreadPool(size) for size in (1, 2, 3)]


@pytest.fixture(autouse=True)
def _share_every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("captioner.parallel.thread_pool.WORTHWHILE", 0)


def model(cell: str, dropout: Dropout) -> CaptioningRNN:
    sizes = Sizes(vocab=9, feature=4, wordvec=3, hidden=5, cell=cell)
    params = initial_params(sizes, np.random.default_rng(0).standard_normal, np.float64)
    return CaptioningRNN(sizes, params, dropout=dropout)


@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    captions=st.integers(1, 7),
    columns=st.integers(1, 6),
    pool=st.sampled_from(TEAMS),
    drop=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_any_number_of_members(
    cell: str, captions: int, columns: int, pool: ThreadPool, drop: float, seed: int
) -> None:
    """With `<NULL>` anywhere, captions without a word, dropout, and fewer captions than members."""
    rng = np.random.default_rng(seed)
    one = model(cell, Dropout(drop, drop, drop))
    batch = rng.standard_normal((captions, 4)), rng.integers(0, 9, (captions, columns))
    loss, grads = one.loss(*batch, np.random.default_rng(seed))
    shared, shared_grads = one.loss(*batch, np.random.default_rng(seed), Workspace(), pool)
    assert shared == pytest.approx(loss, rel=1e-12)
    for name, gradient in grads.items():
        np.testing.assert_allclose(shared_grads[name], gradient, rtol=1e-10, atol=1e-13, err_msg=name)
    losses = one.word_losses(*batch, Workspace(), pool)
    np.testing.assert_allclose(np.sort(losses), np.sort(one.word_losses(*batch)), rtol=1e-12)


def test_the_same_size_is_the_same_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    one, pool = model("lstm", Dropout(0.5, 0.5, 0.5)), TEAMS[1]
    batch = rng.standard_normal((40, 4)), rng.integers(1, 9, (40, 12))
    first, *others = (one.loss(*batch, np.random.default_rng(1), Workspace(), pool)[1] for _ in range(6))
    for grads in others:
        for name, gradient in grads.items():
            np.testing.assert_array_equal(gradient, first[name], err_msg=name)
