"""Memory that is used again: never for two things at once, and never seen by who brings no workspace."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.layers import CELLS
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.dropout import Dropout
from captioner.model.parameters import Sizes, initial_params
from captioner.parallel.buffers import Workspace


def test_the_same_name_is_the_same_memory() -> None:
    workspace = Workspace()
    first = workspace.empty("a", (3, 4), np.float32)
    assert np.shares_memory(first, workspace.empty("a", (2, 5), np.float32))
    assert not np.shares_memory(first, workspace.empty("b", (3, 4), np.float32))


@pytest.mark.parametrize(("shape", "dtype"), [((13,), np.float32), ((3, 4), np.float64), ((0, 7), np.float32)])
def test_what_does_not_fit_gets_memory_of_its_own(shape: tuple[int, ...], dtype: type) -> None:
    workspace = Workspace()
    workspace.empty("a", (3, 4), np.float32)
    array = workspace.empty("a", shape, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.flags.c_contiguous


def model(cell: str, dropout: Dropout) -> CaptioningRNN:
    sizes = Sizes(vocab=9, feature=4, wordvec=3, hidden=5, cell=cell)
    return CaptioningRNN(sizes, initial_params(sizes, np.random.default_rng(0).standard_normal), dropout=dropout)


@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=20)
@given(
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(2, 7)), min_size=2, max_size=4),
    drop=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_batches_of_any_shapes_in_turn_leave_no_trace(
    cell: str, shapes: list[tuple[int, int]], drop: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    trained, workspace = model(cell, Dropout(drop, drop, drop)), Workspace()
    for captions, words in shapes:
        batch = rng.standard_normal((captions, 4)), rng.integers(0, 9, (captions, words))
        loss, grads = trained.loss(*batch, np.random.default_rng(seed), workspace)
        expected_loss, expected = trained.loss(*batch, np.random.default_rng(seed))
        assert loss == expected_loss
        for name, gradient in expected.items():
            np.testing.assert_array_equal(grads[name], gradient, err_msg=name)
        np.testing.assert_array_equal(
            trained.word_losses(*batch, workspace), trained.word_losses(*batch), err_msg="word losses"
        )


def test_without_a_workspace_gradients_are_the_callers_own() -> None:
    trained = model("lstm", Dropout())
    batch = np.ones((2, 4)), np.array([[1, 4, 2], [1, 2, 0]])
    _, first = trained.loss(*batch)
    kept = {name: gradient.copy() for name, gradient in first.items()}
    trained.loss(batch[0] * 3, batch[1])
    for name, gradient in kept.items():
        np.testing.assert_array_equal(first[name], gradient, err_msg=name)
