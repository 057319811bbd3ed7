"""CaptioningRNN of the assignment: initial parameters, loss and sampling."""

from itertools import pairwise

import numpy as np
import pytest
from small_vocabulary import WORD_TO_IDX, WORDS

from captioner import cs231n
from captioner.cs231n.classifiers.rnn import CaptioningRNN

V = len(WORDS)
every_cell = pytest.mark.parametrize("cell", ["rnn", "lstm"])


def model(cell: str = "rnn", dtype: type = np.float64, **sizes: int) -> CaptioningRNN:
    sizes = {"input_dim": 6, "wordvec_dim": 5, "hidden_dim": 8, **sizes}
    return CaptioningRNN(WORD_TO_IDX, **sizes, cell_type=cell, dtype=dtype)


@every_cell
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_initial_parameters_are_bit_identical_to_the_assignments(cell: str, dtype: type) -> None:
    np.random.seed(231)
    params = model(cell, dtype).params
    after = np.random.rand()

    np.random.seed(231)
    gates = {"rnn": 1, "lstm": 4}[cell] * 8
    expected = {
        "W_embed": np.random.randn(V, 5) / 100,
        "W_proj": np.random.randn(6, 8) / np.sqrt(6),
        "b_proj": np.zeros(8),
        "Wx": np.random.randn(5, gates) / np.sqrt(5),
        "Wh": np.random.randn(8, gates) / np.sqrt(8),
        "b": np.zeros(gates),
        "W_vocab": np.random.randn(8, V) / np.sqrt(8),
        "b_vocab": np.zeros(V),
    }
    assert list(params) == list(expected)
    for name, w in expected.items():
        assert params[name].dtype == dtype
        np.testing.assert_array_equal(params[name], w.astype(dtype), err_msg=name)
    assert np.random.rand() == after


def test_the_notebooks_attributes_and_unsupported_cells() -> None:
    m = model("lstm")
    assert (m.cell_type, m.dtype, m.word_to_idx) == ("lstm", np.float64, WORD_TO_IDX)
    assert m.idx_to_word == dict(enumerate(WORDS))
    with pytest.raises(ValueError, match="transformer"):
        CaptioningRNN(WORD_TO_IDX, cell_type="transformer")


@every_cell
def test_params_may_be_replaced_array_by_array_or_all_at_once(cell: str) -> None:
    features, captions = np.ones((2, 6)), np.array([[1, 4, 2], [1, 5, 2]])
    m = model(cell)
    before = m.loss(features, captions)[0]
    kept = dict(m.params)
    for k, v in m.params.items():
        m.params[k] = np.zeros_like(v)
    assert m.loss(features, captions)[0] == pytest.approx(2 * np.log(V))
    m.params = kept
    assert m.loss(features, captions)[0] == before


@every_cell
def test_null_is_masked_by_its_id_in_the_vocabulary(cell: str) -> None:
    moved = {word: (i + 3) % V for word, i in WORD_TO_IDX.items()}
    np.random.seed(0)
    usual = model(cell)
    np.random.seed(0)
    other = CaptioningRNN(moved, 6, 5, 8, cell, np.float64)
    features, captions = np.random.randn(2, 6), np.array([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0]])
    # The same model with renumbered words.
    roll = np.roll(np.arange(V), 3)
    for name, axis in (("W_embed", 0), ("W_vocab", 1)):
        other.params[name] = np.take(usual.params[name], roll, axis)
    assert other.loss(features, (captions + 3) % V)[0] == pytest.approx(usual.loss(features, captions)[0], abs=1e-12)


def markov_model(following: dict[str, str]) -> CaptioningRNN:
    """An RNN in which h is the one-hot input word and W_vocab maps it to the next word."""
    m = model("rnn", wordvec_dim=V, hidden_dim=V)
    m.params.update(W_embed=np.eye(V), Wx=20 * np.eye(V), Wh=np.zeros((V, V)), W_vocab=np.zeros((V, V)))
    for word, after in following.items():
        m.params["W_vocab"][WORD_TO_IDX[word], WORD_TO_IDX[after]] = 5
    return m


def test_sample_is_the_argmax_and_null_after_end() -> None:
    chain = ["<START>", "<UNK>", "a", "<NULL>", "red", "<END>", "dog"]
    m = markov_model(dict(pairwise(chain)))
    captions = m.sample(np.ones((3, 6)), max_length=8)
    assert captions.dtype == np.int32
    assert captions.shape == (3, 8)
    assert (captions == [WORD_TO_IDX[word] for word in [*chain[1:6], "<NULL>", "<NULL>", "<NULL>"]]).all()
    assert m.sample(np.ones((2, 6)), max_length=3).tolist() == captions[:2, :3].tolist()
    assert m.sample(np.ones((2, 6))).shape == (2, 30)
    repeating = markov_model({"<START>": "<START>"})
    assert (repeating.sample(np.ones((1, 6)), max_length=4) == WORD_TO_IDX["<START>"]).all()


@every_cell
def test_sample_matches_the_step_functions(cell: str) -> None:
    """Against the assignment's method: step functions and the argmax of the scores."""
    np.random.seed(0)
    m, features = model(cell), np.random.randn(5, 6)
    for w in m.params.values():
        w *= 4
    p = m.params
    h, c, words, expected = features @ p["W_proj"] + p["b_proj"], np.zeros((5, 8)), np.full(5, 1), []
    for _ in range(12):
        x = p["W_embed"][words]
        if cell == "rnn":
            h, _ = cs231n.rnn_step_forward(x, h, p["Wx"], p["Wh"], p["b"])
        else:
            h, c, _ = cs231n.lstm_step_forward(x, h, c, p["Wx"], p["Wh"], p["b"])
        words = (h @ p["W_vocab"] + p["b_vocab"]).argmax(axis=1)
        expected.append(words)
    sampled = m.sample(features, max_length=12)
    for got, unended in zip(sampled, np.stack(expected, axis=1).tolist(), strict=True):
        length = unended.index(2) + 1 if 2 in unended else 12
        assert got.tolist() == unended[:length] + [0] * (12 - length)


@pytest.mark.parametrize("missing", ["<START>", "<END>"])
def test_sample_needs_start_and_end(missing: str) -> None:
    words = {word: i for word, i in WORD_TO_IDX.items() if word != missing}
    m = CaptioningRNN(words, 6, 5, 8)
    with pytest.raises(ValueError, match=f"needs .*{missing}"):
        m.sample(np.ones((1, 6)))
