"""Word embedding against loops."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from captioner.layers.embedding import word_embedding_backward, word_embedding_forward


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    vocab=st.integers(1, 6),
    width=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_embedding_matches_loops(shape: list[int], vocab: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, W = rng.integers(0, vocab, shape), rng.standard_normal((vocab, width))
    dout = rng.standard_normal((*shape, width))

    out, cache = word_embedding_forward(x, W)
    dW = word_embedding_backward(dout, cache)

    expected = np.zeros_like(W)
    for place in np.ndindex(*shape):
        assert (out[place] == W[x[place]]).all()
        expected[x[place]] += dout[place]
    np.testing.assert_allclose(dW, expected, atol=1e-12)


def test_the_output_is_a_copy_of_the_table() -> None:
    W = np.ones((3, 2))
    out, _ = word_embedding_forward(np.array([1, 2]), W)
    out += 1
    assert (W == 1).all()
