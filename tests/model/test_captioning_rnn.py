"""CaptioningRNN equals a loss computed word by word and numeric gradients, for edge cases of captions."""

import math
from itertools import chain
from typing import Any

import numpy as np
import pytest
from captioning_models import (
    CAPTIONS,
    EDGE_CASES,
    FEATURES,
    REGIONS,
    Array,
    F,
    V,
    assert_grads_equal,
    by_hand,
    every_attention,
    every_caption,
    every_cell,
    every_image,
    features,
    mean_loss,
    model,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import model as tree_model

from captioner.arrays import Batch
from captioner.gradcheck.numeric import Case, check_gradients
from captioner.layers import CELLS
from captioner.layers.dropout import Dropout
from captioner.model.build import parameter_shapes
from captioner.model.captioning_rnn import BLOCK, CaptioningRNN
from captioner.model.image_input import Standardizer
from captioner.parallel.thread_pool import ThreadPool

NO_TARGETS = {"all null": np.zeros((3, 4), int), "only starts": np.array([[1, 0], [1, 0]]), "T=1": np.array([[1]])}
USUAL, NULL_INSIDE = np.array(EDGE_CASES["usual"]), np.array(EDGE_CASES["null inside"])
POOLS = [ThreadPool(size) for size in (1, 2, 3)]


@every_cell
@every_image
@every_attention
@pytest.mark.parametrize("pool", POOLS[:2], ids=["1 thread", "2 threads"])
def test_loss_and_steps_match_the_reference(cell: str, image: str, attention: str, pool: ThreadPool) -> None:
    m = model(cell, image, attention)
    expected = mean_loss(by_hand(m)[0])
    loss, grads = m.loss(Batch(FEATURES, CAPTIONS, REGIONS), pool=pool)
    assert loss == pytest.approx(expected, abs=1e-12)
    assert {name: grad.shape for name, grad in grads.items()} == parameter_shapes(m.sizes)
    assert_grads_equal(grads, m.loss(Batch(FEATURES, CAPTIONS, REGIONS))[1])
    words = m.word_losses(Batch(FEATURES, CAPTIONS, REGIONS), pool)
    assert words.sum() / len(CAPTIONS) == pytest.approx(expected, abs=1e-12)

    state, total, inference = m.start(FEATURES, REGIONS), 0.0, m.for_inference()
    assert {len(rows) for rows in state} == {len(CAPTIONS)}
    assert len(state) == CELLS[cell].states + (image == "every") + (attention != "none")
    for t in range(CAPTIONS.shape[1] - 1):
        log_probs, state = inference.step(CAPTIONS[:, t], state)
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1)
        total -= sum(log_probs[n, word] for n, word in enumerate(CAPTIONS[:, t + 1]) if word)
    assert total / len(CAPTIONS) == pytest.approx(expected, abs=1e-12)


@every_cell
@every_caption
def test_word_losses_of_edge_cases_match_the_reference(cell: str, captions: Array) -> None:
    m, images = model(cell), features(len(captions))
    losses, _ = by_hand(m, images, captions)
    loss, _ = m.loss(Batch(images, captions))
    assert type(loss) is float
    assert loss == pytest.approx(mean_loss(losses), abs=1e-12)
    np.testing.assert_allclose(np.sort(m.word_losses(Batch(images, captions))), sorted(chain(*losses)), atol=1e-12)


@every_cell
@given(
    captions=st.integers(1, 5).flatmap(
        lambda steps: st.lists(st.lists(st.integers(0, V - 1), min_size=steps + 1, max_size=steps + 1), min_size=1)
    ),
    null=st.integers(0, V - 1),
)
def test_any_captions_with_any_null(cell: str, captions: list[list[int]], null: int) -> None:
    m, images, ids = model(cell, null=null), features(len(captions)), np.array(captions)
    losses, _ = by_hand(m, images, ids)
    assert m.loss(Batch(images, ids))[0] == pytest.approx(mean_loss(losses), abs=1e-11)
    assert len(m.word_losses(Batch(images, ids))) == sum(map(len, losses))


@every_cell
@pytest.mark.parametrize("captions", NO_TARGETS.values(), ids=NO_TARGETS)
def test_without_targets_loss_and_gradients_are_0(cell: str, captions: Array) -> None:
    m, images = model(cell), features(len(captions))
    loss, grads = m.loss(Batch(images, captions))
    assert loss == 0
    assert_grads_equal(grads, {name: np.zeros(shape) for name, shape in parameter_shapes(m.sizes).items()}, 0)
    assert m.word_losses(Batch(images, captions)).shape == (0,)


@every_cell
@pytest.mark.parametrize("scale", [1e4, 1e6])
def test_large_scores(cell: str, scale: float) -> None:
    m = model(cell)
    m.params["W_vocab"] *= scale
    loss, grads = m.loss(Batch(features(3), USUAL))
    assert loss == pytest.approx(mean_loss(by_hand(m, features(3), USUAL)[0]), rel=1e-12)
    assert all(np.isfinite(grad).all() for grad in grads.values())


@every_cell
def test_padding_empty_captions_order_and_integer_types(cell: str) -> None:
    m, images = model(cell), features(4)
    loss, grads = m.loss(Batch(images[:3], USUAL))
    again, grads_again = m.loss(Batch(images[:3], np.hstack([USUAL, np.zeros((3, 4), int)])))
    assert again == loss, "more padding is bit-identical"
    for name, grad in grads.items():
        np.testing.assert_array_equal(grads_again[name], grad, err_msg=name)
    again, grads_again = m.loss(Batch(images, np.vstack([USUAL, [[1, 0, 0, 0, 0, 0]]])))
    assert again == pytest.approx(loss * 3 / 4, abs=1e-14), "an empty caption counts in N only"
    assert_grads_equal(grads_again, {name: grad * 3 / 4 for name, grad in grads.items()})
    loss, grads = m.loss(Batch(images, NULL_INSIDE))
    again, grads_again = m.loss(Batch(images[::-1], NULL_INSIDE[::-1]))
    assert again == pytest.approx(loss, abs=1e-13), "the order of captions"
    assert_grads_equal(grads_again, grads)
    for kind in (np.int32, np.int64, np.uint8, np.uint16):
        assert m.loss(Batch(images, NULL_INSIDE.astype(kind)))[0] == loss


@every_cell
def test_masked_positions_are_never_computed(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, right = [], CELLS[cell]

    def forward(ax: Array, *rest: Any) -> None:
        rows.append(ax.shape[1])
        right.forward(ax, *rest)

    monkeypatch.setitem(CELLS, cell, right._replace(forward=forward))
    model(cell).loss(Batch(features(4), np.array([[1, 4, 5, 2, 0], [1, 2, 0, 0, 0], [1, 0, 0, 0, 0], [1, 0, 2, 0, 0]])))
    assert rows == [3, 2, 1]


@every_cell
def test_loss_and_step_are_deterministic_and_pure(cell: str) -> None:
    m, captions, images = model(cell, dropout=Dropout(0.2, 0.2, 0.2)), USUAL.copy(), features(3)
    params = {name: w.copy() for name, w in m.params.items()}
    first, grads = m.loss(Batch(images, captions), np.random.default_rng(0))
    kept = {name: grad.copy() for name, grad in grads.items()}
    second, again = m.loss(Batch(images, captions), np.random.default_rng(0))
    assert first == second
    for name in params:
        np.testing.assert_array_equal(m.params[name], params[name])
        np.testing.assert_array_equal(grads[name], kept[name])
        np.testing.assert_array_equal(again[name], kept[name])
    np.testing.assert_array_equal(images, features(3))
    np.testing.assert_array_equal(captions, USUAL)
    state = m.start(images)
    before = [rows.copy() for rows in state]
    m.step(np.array([1, 2, 3]), state)
    np.testing.assert_array_equal(state, before)


@every_cell
def test_the_standardizer_standardises_features(cell: str) -> None:
    mean, std = np.array([1.0, -2, 0, 30]), np.array([0.5, 2, 1, 10])
    inside, outside = model(cell, standardizer=Standardizer(mean, std)), model(cell)
    images = std * features(3) + mean
    loss, grads = inside.loss(Batch(images, USUAL))
    expected, grads_expected = outside.loss(Batch((images - mean) / std, USUAL))
    assert loss == pytest.approx(expected, abs=1e-13)
    assert_grads_equal(grads, grads_expected)
    np.testing.assert_allclose(inside.start(images)[0], outside.start((images - mean) / std)[0], atol=1e-13)


def failed_checks(m: CaptioningRNN, captions: Array, noise: int | None = None) -> list[Any]:
    images = features(len(captions))

    def run() -> tuple[float, dict[str, Array]]:
        return m.loss(Batch(images, captions), None if noise is None else np.random.default_rng(noise))

    case = Case("model", m.params, lambda: run()[0], lambda: run()[1])
    return [row for row in check_gradients(case, np.random.default_rng(0), full=True) if not row.passed]


@pytest.mark.parametrize(
    ("cell", "name"),
    [  # the edge cases are those of packing and loss, which no cell knows
        pytest.param(cell, name, marks=[] if name == "usual" or cell == "rnn" else pytest.mark.slow)
        for cell in CELLS
        for name in EDGE_CASES
    ],
)
def test_gradients_match_numeric_gradients(cell: str, name: str) -> None:
    captions = np.array(EDGE_CASES[name])
    assert failed_checks(model(cell), captions) == []


@every_cell
def test_gradients_with_dropout_match_numeric_gradients(cell: str) -> None:
    standardizer = Standardizer(np.linspace(-1, 1, F), np.linspace(0.5, 2, F))
    m = model(cell, dropout=Dropout(0.3, 0.3, 0.3), standardizer=standardizer)
    assert failed_checks(m, NULL_INSIDE, noise=3) == []


@every_cell
@pytest.mark.parametrize("input_type", [np.float16, np.float32, np.float64, int])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_have_the_dtype_of_the_parameters(cell: str, input_type: type, dtype: type, dropout: float) -> None:
    options = {"dropout": Dropout(dropout, dropout, dropout), "standardizer": Standardizer(np.zeros(F), np.ones(F))}
    m, exact = model(cell, dtype=dtype, **options), model(cell, **options)
    images, captions = (4 * features(4)).astype(input_type), NULL_INSIDE.astype(np.int32)
    loss, grads = m.loss(Batch(images, captions), np.random.default_rng(0))
    assert {grad.dtype for grad in grads.values()} == {np.dtype(dtype)} == {m.dtype}
    assert m.word_losses(Batch(images, captions)).dtype == dtype
    log_probs, state = m.step(captions[:, 0], m.start(images))
    assert {a.dtype for a in (log_probs, *m.start(images), *state)} == {np.dtype(dtype)}
    assert loss == pytest.approx(exact.loss(Batch(images, captions), np.random.default_rng(0))[0], rel=1e-5)


def test_rows_of_the_state_may_be_reordered() -> None:
    """As in beam search: the context is a row of the state."""
    m, words = model(image="every"), np.array([4, 5, 6, 4, 5])
    order = np.array([3, 0, 0, 4])
    expected, _ = m.step(words[order], tuple(rows[order] for rows in m.start(FEATURES)))
    all_rows, _ = m.step(words, m.start(FEATURES))
    np.testing.assert_allclose(expected, all_rows[order], atol=1e-13)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_label_smoothing_affects_the_training_loss_only(smoothing: float) -> None:
    m = model(smoothing=smoothing)
    smoothed, plain = (len(CAPTIONS) * mean_loss(by_hand(m, smoothing=share)[0]) for share in (smoothing, 0))
    assert m.word_losses(Batch(FEATURES, CAPTIONS)).sum() == pytest.approx(plain, abs=1e-12)
    losses, _ = m.forward(Batch(FEATURES, CAPTIONS))
    assert losses.loss == pytest.approx(smoothed / len(CAPTIONS), abs=1e-12)
    assert losses.words == np.count_nonzero(CAPTIONS[:, 1:])
    assert losses.trained * losses.words == pytest.approx(smoothed, abs=1e-12)
    assert losses.nll * losses.words == pytest.approx(plain, abs=1e-12)


@every_cell
def test_caption_weights(cell: str) -> None:
    m, weights = model(cell), np.array([0.5, -2.0, 0.0, 3.0, 1.0])
    loss, grads = m.loss(Batch(FEATURES, CAPTIONS, weights=weights))
    expected = math.fsum(w * math.fsum(losses) for w, losses in zip(weights, by_hand(m)[0], strict=True))
    assert loss == pytest.approx(expected / len(CAPTIONS), abs=1e-12)
    alone = [m.loss(Batch(FEATURES[[n]], CAPTIONS[[n]]))[1] for n in range(len(CAPTIONS))]
    for name, grad in grads.items():
        by_caption = sum(w * single[name] for w, single in zip(weights, alone, strict=True)) / len(CAPTIONS)
        np.testing.assert_allclose(grad, by_caption, atol=1e-13)


def test_with_params_keeps_all_options() -> None:
    m = model(image="every", smoothing=0.1)
    other = m.with_params({name: 2 * w for name, w in m.params.items()})
    assert (other.sizes, other.smoothing, other.dropout, other.null) == (m.sizes, m.smoothing, m.dropout, m.null)
    assert other.loss(Batch(FEATURES, CAPTIONS))[0] != m.loss(Batch(FEATURES, CAPTIONS))[0]


@pytest.fixture
def _shard_every_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadPool, "min_parallel", 0)


@pytest.mark.usefixtures("_shard_every_product")
@every_cell
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    captions=st.integers(1, 7),
    columns=st.integers(1, 6),
    attention=st.sampled_from(["none", "adaptive"]),
    pool=st.sampled_from(POOLS),
    drop=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 99),
)
def test_results_do_not_depend_on_the_number_of_threads(
    cell: str, captions: int, columns: int, attention: str, pool: ThreadPool, drop: float, seed: int
) -> None:
    """With `<NULL>` anywhere, empty captions, dropout, and fewer captions than threads."""
    rng, images = np.random.default_rng(seed), np.arange(captions) % 5
    m, regions = model(cell, "every", attention, dropout=Dropout(drop, drop, drop, drop, drop)), REGIONS[images]
    batch = Batch(rng.standard_normal((captions, F)), rng.integers(0, V, (captions, columns)), regions)
    loss, grads = m.loss(batch, np.random.default_rng(seed))
    sharded, sharded_grads = m.loss(batch, np.random.default_rng(seed), pool)
    assert sharded == pytest.approx(loss, rel=1e-12)
    assert_grads_equal(sharded_grads, grads)
    losses = m.word_losses(batch, pool)
    np.testing.assert_allclose(np.sort(losses), np.sort(m.word_losses(batch)), rtol=1e-12)


@pytest.mark.usefixtures("_shard_every_product")
def test_results_are_bit_identical_for_the_same_number_of_threads() -> None:
    rng, m = np.random.default_rng(0), model(dropout=Dropout(0.5, 0.5, 0.5))
    batch = Batch(rng.standard_normal((40, F)), rng.integers(1, V, (40, 12)))
    first, *others = (m.loss(batch, np.random.default_rng(1), POOLS[1])[1] for _ in range(6))
    for grads in others:
        for name, gradient in grads.items():
            np.testing.assert_array_equal(gradient, first[name], err_msg=name)


@pytest.mark.parametrize("kind", Dropout._fields[:-1])
def test_dropout_draws_noise_from_the_generator(kind: str) -> None:
    m, plain = model(attention="adaptive", dropout=Dropout(**{kind: 0.5})), model(attention="adaptive")

    def losses(dropping: CaptioningRNN, *seeds: int) -> list[float]:
        return [dropping.loss(Batch(FEATURES, CAPTIONS, REGIONS), np.random.default_rng(s))[0] for s in seeds]

    assert len(set(losses(m, *range(20)))) > 10
    assert losses(m, 1) == losses(m, 1)
    without = plain.loss(Batch(FEATURES, CAPTIONS, REGIONS))[0]
    assert m.loss(Batch(FEATURES, CAPTIONS, REGIONS))[0] == losses(plain, 1)[0] == without
    word_losses = [either.word_losses(Batch(FEATURES, CAPTIONS, REGIONS)) for either in (m, plain)]
    np.testing.assert_array_equal(*word_losses)
    starts = m.start(FEATURES, REGIONS), plain.start(FEATURES, REGIONS)
    np.testing.assert_array_equal(starts[0][0], starts[1][0])
    np.testing.assert_array_equal(starts[0][-1].values, starts[1][-1].values)


def test_each_block_of_words_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    m, projected = tree_model(0, vocab=2 * BLOCK + 8), []
    inference, state = m.for_inference(), m.start(np.zeros((4, 4)))
    product = inference._Wx.product

    def counting(x: np.ndarray) -> np.ndarray:
        projected.append(len(x))
        return product(x)

    monkeypatch.setattr(inference._Wx, "product", counting)
    for tokens in ([1, 1, 1, 1], [5, 2 * BLOCK, 5, 1], [6, 7, 1, BLOCK]):
        _, state = inference.step(np.array(tokens), state)
    assert projected == [BLOCK, 8, BLOCK]


def test_a_word_has_the_same_log_probabilities_whatever_came_before() -> None:
    m = tree_model(0, vocab=2 * BLOCK, dtype=np.float32)
    tokens, state = np.array([5, 6, 40]), m.start(np.ones((3, 4), np.float32))
    fresh, used = m.for_inference(), m.for_inference()
    for before in (5, 40, 7):
        used.step(np.full(1, before), m.start(np.ones((1, 4), np.float32)))
    expected = fresh.step(tokens, state)[0].copy()
    np.testing.assert_array_equal(used.step(tokens, state)[0], expected)


def test_the_inference_model_is_a_copy() -> None:
    m = tree_model(0)
    tokens, state = np.array([5, 6]), m.start(np.ones((2, 4)))
    expected = m.step(tokens, state)[0].copy()
    inference = m.for_inference()
    for w in m.params.values():
        w *= 3
    np.testing.assert_array_equal(inference.step(tokens, state)[0], expected)
