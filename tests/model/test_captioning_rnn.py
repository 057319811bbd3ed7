"""CaptioningRNN equals a loss computed word by word and numeric gradients, for edge cases of captions."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from captioning_models import CAPTIONS, F, H, V, every_caption, every_cell, features, model
from cells import cell_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.gradcheck.numeric import Case, check
from captioner.layers import CELLS
from captioner.layers.dropout import Dropout
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.image_input import Standardizer

Array = np.ndarray


def reference(m: CaptioningRNN, images: Array, captions: Array) -> list[float]:
    """-log P of every unmasked word in reading order, one caption and one word at a time, by log-sum-exp."""
    p, losses = {name: w.astype(np.float64) for name, w in m.params.items()}, []
    for image, caption in zip(images, captions.tolist(), strict=True):
        h, c = image @ p["W_proj"] + p["b_proj"], np.zeros(H)
        for word, target in pairwise(caption):
            h, c = cell_by_hand(m.sizes.cell, p, p["W_embed"][word], h, c)
            scores = (h @ p["W_vocab"] + p["b_vocab"]).tolist()
            if target != m.null:
                top = max(scores)
                losses.append(top + math.log(math.fsum(math.exp(s - top) for s in scores)) - scores[target])
    return losses


NO_TARGETS = {"all null": np.zeros((3, 4), int), "only starts": np.array([[1, 0], [1, 0]]), "T=1": np.array([[1]])}


@every_cell
@every_caption
def test_the_loss_matches_the_reference(cell: str, captions: Array) -> None:
    m, images = model(cell), features(len(captions))
    loss, grads = m.loss(images, captions)
    assert type(loss) is float
    assert loss == pytest.approx(math.fsum(reference(m, images, captions)) / len(captions), abs=1e-12)
    assert {name: grad.shape for name, grad in grads.items()} == m.sizes.shapes()


@every_cell
@every_caption
def test_word_losses_are_the_terms_of_the_loss(cell: str, captions: Array) -> None:
    m, images = model(cell), features(len(captions))
    words = m.word_losses(images, captions)
    np.testing.assert_allclose(np.sort(words), np.sort(reference(m, images, captions)), atol=1e-12)
    assert words.sum() / len(captions) == pytest.approx(m.loss(images, captions)[0], abs=1e-12)


@every_cell
@settings(deadline=None, max_examples=20)
@given(
    captions=st.integers(1, 5).flatmap(
        lambda steps: st.lists(st.lists(st.integers(0, V - 1), min_size=steps + 1, max_size=steps + 1), min_size=1)
    ),
    null=st.integers(0, V - 1),
)
def test_any_captions_with_any_null(cell: str, captions: list[list[int]], null: int) -> None:
    m, images, ids = model(cell, null=null), features(len(captions)), np.array(captions)
    expected = reference(m, images, ids)
    if expected:
        assert m.loss(images, ids)[0] == pytest.approx(math.fsum(expected) / len(ids), abs=1e-11)
        assert len(m.word_losses(images, ids)) == len(expected)


@every_cell
@pytest.mark.parametrize("captions", NO_TARGETS.values(), ids=NO_TARGETS)
def test_without_targets_loss_and_gradients_are_0(cell: str, captions: Array) -> None:
    m, images = model(cell), features(len(captions))
    loss, grads = m.loss(images, captions)
    assert loss == 0
    assert {name: grad.shape for name, grad in grads.items()} == m.sizes.shapes()
    assert all((grad == 0).all() for grad in grads.values())
    assert m.word_losses(images, captions).shape == (0,)


@every_cell
@pytest.mark.parametrize("scale", [1e4, 1e6])
def test_large_scores(cell: str, scale: float) -> None:
    m, captions = model(cell), np.array(CAPTIONS["usual"])
    m.params["W_vocab"] *= scale
    loss, grads = m.loss(features(3), captions)
    assert loss == pytest.approx(math.fsum(reference(m, features(3), captions)) / 3, rel=1e-12)
    assert all(np.isfinite(grad).all() for grad in grads.values())


@every_cell
def test_more_padding_is_bit_identical(cell: str) -> None:
    m, captions, images = model(cell), np.array(CAPTIONS["usual"]), features(3)
    padded = np.hstack([captions, np.zeros((3, 4), int)])
    loss, grads = m.loss(images, captions)
    again, grads_again = m.loss(images, padded)
    assert again == loss
    for name, grad in grads.items():
        np.testing.assert_array_equal(grads_again[name], grad, err_msg=name)


@every_cell
def test_an_empty_caption_counts_in_n_only(cell: str) -> None:
    m, captions, images = model(cell), np.array(CAPTIONS["usual"]), features(4)
    loss, grads = m.loss(images[:3], captions)
    again, grads_again = m.loss(images, np.vstack([captions, [[1, 0, 0, 0, 0, 0]]]))
    assert again == pytest.approx(loss * 3 / 4, abs=1e-14)
    for name, grad in grads.items():
        np.testing.assert_allclose(grads_again[name], grad * 3 / 4, atol=1e-13, err_msg=name)


@every_cell
def test_masked_positions_are_never_computed(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, right = [], CELLS[cell]

    def forward(ax: Array, *rest: Any) -> None:
        rows.append(ax.shape[1])
        right.forward(ax, *rest)

    monkeypatch.setitem(CELLS, cell, right._replace(forward=forward))
    model(cell).loss(features(4), np.array([[1, 4, 5, 2, 0], [1, 2, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 2, 0, 0]]))
    assert rows == [3, 2, 1]


@every_cell
def test_the_order_of_captions_does_not_matter(cell: str) -> None:
    m, captions, images = model(cell), np.array(CAPTIONS["null inside"]), features(4)
    loss, grads = m.loss(images, captions)
    again, grads_again = m.loss(images[::-1], captions[::-1])
    assert again == pytest.approx(loss, abs=1e-13)
    for name, grad in grads.items():
        np.testing.assert_allclose(grads_again[name], grad, atol=1e-13)


@every_cell
def test_loss_is_deterministic_and_pure(cell: str) -> None:
    m, captions, images = model(cell, dropout=Dropout(0.2, 0.2, 0.2)), np.array(CAPTIONS["usual"]), features(3)
    params = {name: w.copy() for name, w in m.params.items()}
    first, grads = m.loss(images, captions, np.random.default_rng(0))
    kept = {name: grad.copy() for name, grad in grads.items()}
    second, again = m.loss(images, captions, np.random.default_rng(0))
    assert first == second
    for name in params:
        np.testing.assert_array_equal(m.params[name], params[name])
        np.testing.assert_array_equal(grads[name], kept[name])
        np.testing.assert_array_equal(again[name], kept[name])
    np.testing.assert_array_equal(images, features(3))
    np.testing.assert_array_equal(captions, CAPTIONS["usual"])


@every_cell
@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8, np.uint16])
def test_captions_of_any_integer_type(cell: str, kind: type) -> None:
    captions = np.array(CAPTIONS["null inside"])
    assert model(cell).loss(features(4), captions.astype(kind))[0] == model(cell).loss(features(4), captions)[0]


@every_cell
def test_steps_match_the_loss(cell: str) -> None:
    m, images, captions = model(cell), features(2), np.array([[1, 4, 5, 6, 2], [1, 6, 3, 2, 0]])
    state, total = m.start(images), 0.0
    assert len(state) == CELLS[cell].states
    for t in range(4):
        log_probs, state = m.step(captions[:, t], state)
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1)
        total -= sum(log_probs[n, word] for n, word in enumerate(captions[:, t + 1]) if word)
    assert total / 2 == pytest.approx(m.loss(images, captions)[0], abs=1e-12)


@every_cell
def test_step_does_not_modify_the_state(cell: str) -> None:
    m = model(cell)
    state = m.start(features(3))
    kept = [rows.copy() for rows in state]
    m.step(np.array([1, 2, 3]), state)
    for rows, before in zip(state, kept, strict=True):
        np.testing.assert_array_equal(rows, before)


@every_cell
def test_the_standardizer_standardises_features(cell: str) -> None:
    mean, std = np.array([1.0, -2, 0, 30]), np.array([0.5, 2, 1, 10])
    inside, outside = model(cell, standardizer=Standardizer(mean, std)), model(cell)
    images, captions = std * features(3) + mean, np.array(CAPTIONS["usual"])
    reference_images = (images - mean) / std
    loss, grads = inside.loss(images, captions)
    expected, grads_expected = outside.loss(reference_images, captions)
    assert loss == pytest.approx(expected, abs=1e-13)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, grads_expected[name], atol=1e-13)
    np.testing.assert_allclose(inside.start(images)[0], outside.start(reference_images)[0], atol=1e-13)


def failed_checks(m: CaptioningRNN, captions: Array, noise: int | None = None) -> list[Any]:
    images = features(len(captions))

    def run() -> tuple[float, dict[str, Array]]:
        return m.loss(images, captions, None if noise is None else np.random.default_rng(noise))

    case = Case("model", m.params, lambda: run()[0], lambda: run()[1])
    return [row for row in check(case, np.random.default_rng(0), full=True) if not row.passed]


@every_cell
@every_caption
def test_gradients_match_numeric_gradients(cell: str, captions: Array) -> None:
    assert failed_checks(model(cell), captions) == []


@every_cell
@pytest.mark.parametrize("captions", [CAPTIONS["usual"], CAPTIONS["null inside"]], ids=["usual", "null inside"])
@pytest.mark.parametrize(
    "dropout",
    [Dropout(features=0.5), Dropout(words=0.5), Dropout(hidden=0.5), Dropout(0.3, 0.3, 0.3)],
    ids=["features", "words", "hidden", "all"],
)
def test_gradients_with_dropout_match_numeric_gradients(cell: str, captions: list[list[int]], dropout: Dropout) -> None:
    standardizer = Standardizer(np.linspace(-1, 1, F), np.linspace(0.5, 2, F))
    assert failed_checks(model(cell, dropout=dropout, standardizer=standardizer), np.array(captions), noise=3) == []


@every_cell
@pytest.mark.parametrize("given_type", [np.float16, np.float32, np.float64, int])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_have_the_dtype_of_the_parameters(cell: str, given_type: type, dtype: type, dropout: float) -> None:
    standardizer = Standardizer(np.zeros(F), np.ones(F))
    m = model(cell, dtype, Dropout(dropout, dropout, dropout), standardizer)
    images, captions = (4 * features(4)).astype(given_type), np.array(CAPTIONS["null inside"], np.int32)
    loss, grads = m.loss(images, captions, np.random.default_rng(0))
    assert {grad.dtype for grad in grads.values()} == {np.dtype(dtype)} == {m.dtype}
    assert m.word_losses(images, captions).dtype == dtype
    assert {a.dtype for a in m.start(images)} == {np.dtype(dtype)}
    log_probs, state = m.step(captions[:, 0], m.start(images))
    assert {a.dtype for a in (log_probs, *state)} == {np.dtype(dtype)}
    exact = model(cell, np.float64, m.dropout, standardizer)
    assert loss == pytest.approx(exact.loss(images, captions, np.random.default_rng(0))[0], rel=1e-5)
