"""CaptioningTransformer: its loss by the assignment's layers, steps, beams, threads and attention weights."""

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from captioning_models import CAPTIONS, FEATURES, IMAGE, REGIONS, F, L, R, V, assert_grads_equal
from captioning_models import model as recurrent

from captioner.arrays import Batch, SharedRows
from captioner.cs231n.transformer_layers import layernorm_forward, multi_head_attention_forward, positional_encoding
from captioner.decode import beam, greedy
from captioner.errors import DataError
from captioner.gradcheck.numeric import numeric_gradient
from captioner.layers.dropout import Dropout
from captioner.model.build import initial_params, parameter_shapes
from captioner.model.captioning_model import take_rows
from captioner.model.captioning_transformer import CaptioningTransformer
from captioner.model.ensemble import Ensemble
from captioner.model.parameters import Sizes, layer_shapes
from captioner.model.transformer import MAX_CAPTIONS_PER_GROUP
from captioner.parallel.thread_pool import ThreadPool

Array = np.ndarray
E, HEADS, J, LAYERS = 6, 2, 8, 2
DECODING: dict[str, Any] = {"start": 1, "end": 2, "null": 0, "max_length": 9}
every_attention = pytest.mark.parametrize("attention", ["none", "adaptive"])


def transformer(
    attention: str = "adaptive", activation: str = "gelu", dtype: type = np.float64, **options: Any
) -> CaptioningTransformer:
    """A model with parameters of order 1, so that each affects the loss."""
    sizes = Sizes(
        V, F, 1, E, "transformer", attention=attention, region=R, layers=LAYERS, heads=HEADS, feed_forward=J,
        activation=activation,
    )  # fmt: skip
    rng = np.random.default_rng(5)
    params = {name: (0.7 * rng.standard_normal(s)).astype(dtype) for name, s in parameter_shapes(sizes).items()}
    return CaptioningTransformer(sizes, params, **options)


@every_attention
def test_the_loss_is_that_of_the_assignments_layers(attention: str) -> None:
    """Pre-norm and GELU, one caption at a time, with the memory as padded rows."""
    m = transformer(attention)
    p, expected = m.params, []
    for n, caption in enumerate(CAPTIONS):
        rows = [FEATURES[n] @ p["W_proj"] + p["b_proj"], p["null"]]
        if attention == "adaptive":
            rows = [*(REGIONS.values[IMAGE[n]] @ p["W_region"] + p["b_region"]), *rows]
        x = math.sqrt(E) * p["W_embed"][caption[:-1]] + positional_encoding(len(caption) - 1, E)
        hidden, memory, causal = x[None], np.array(rows)[None], np.tri(len(caption) - 1)
        for i in range(LAYERS):
            layer = {name: p[f"layer{i}_{name}"] for name in layer_shapes(1, 1)}
            for prefix in ("self", "cross"):
                for kind in ("W", "b"):
                    parts = np.split(layer.pop(f"{prefix}_{kind}"), 3, axis=-1)
                    layer |= {f"{prefix}_{kind}{x}": part for x, part in zip("qkv", parts, strict=True)}
            own, cross = ({k.removeprefix(x): w for k, w in layer.items()} for x in ("self_", "cross_"))
            y, _ = layernorm_forward(hidden, layer["gamma1"], layer["beta1"], {})
            hidden = hidden + multi_head_attention_forward(y, y, y, own, HEADS, causal)[0]
            y, _ = layernorm_forward(hidden, layer["gamma2"], layer["beta2"], {})
            hidden = hidden + multi_head_attention_forward(y, memory, memory, cross, HEADS)[0]
            y, _ = layernorm_forward(hidden, layer["gamma3"], layer["beta3"], {})
            a = y @ layer["W1"] + layer["b1"]
            gelu = a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))) / 2
            hidden = hidden + gelu @ layer["W2"] + layer["b2"]
        hidden, _ = layernorm_forward(hidden, p["gamma"], p["beta"], {})
        scores = hidden[0] @ p["W_vocab"] + p["b_vocab"]
        log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        expected += [-log_probs[t, word] for t, word in enumerate(caption[1:]) if word]
    loss, _ = m.loss(Batch(FEATURES, CAPTIONS, REGIONS))
    assert loss == pytest.approx(math.fsum(expected) / len(CAPTIONS), abs=1e-11)
    np.testing.assert_allclose(
        np.sort(m.word_losses(Batch(FEATURES, CAPTIONS, REGIONS))), np.sort(expected), atol=1e-11
    )


@every_attention
@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_steps_equal_teacher_forcing(attention: str, dtype: type, atol: float) -> None:
    m, rows = transformer(attention, dtype=dtype), np.array([0, 2])
    captions = CAPTIONS[rows]
    state, losses = m.start(FEATURES[rows], REGIONS[rows]), []
    inference = m.for_inference()
    for t in range(4):
        log_probs, following = inference.step(captions[:, t], state)
        losses += [-log_probs[n, captions[n, t + 1]] for n in range(2) if captions[n, t + 1]]
        state = following
    expected = m.word_losses(Batch(FEATURES[rows], captions, REGIONS[rows]))
    assert expected.dtype == dtype
    np.testing.assert_allclose(np.sort(losses), np.sort(expected), atol=atol * max(1, np.max(expected)))


@pytest.mark.parametrize("rows", [(2, 0, 2, 2), (0, 1), (1, 2)], ids=str)
def test_rows_of_a_state_may_be_selected_several_times_or_left_out(rows: tuple[int, ...]) -> None:
    """Beams of an image share its memory, and differ in the words before; finished captions are left out."""
    m, words = transformer(), np.array([4, 5, 5, 6])[: len(rows)]
    _, state = m.step(np.array([1, 1, 1]), m.start(FEATURES[:3], REGIONS[:3]))
    together, _ = m.step(words, take_rows(state, np.array(rows)))
    for n, (row, word) in enumerate(zip(rows, words, strict=True)):
        alone, _ = m.step(np.array([word]), take_rows(state, np.array([row])))
        np.testing.assert_allclose(together[n], alone[0], atol=1e-12)


def test_the_cache_of_beams_equals_that_of_separate_captions() -> None:
    """Beams are selected several times or never, their images leave, and a state is used twice."""
    m, rng = transformer("none"), np.random.default_rng(0)
    inference, state, image, words = m.for_inference(), m.start(FEATURES[:4]), np.arange(4), np.empty((4, 0), int)
    for t in range(40):
        tokens = rng.integers(3, V, len(image))
        words = np.column_stack([words, tokens])
        log_probs, following = inference.step(tokens, state)
        if t % 8 == 0:
            again, _ = m.step(tokens, state)
            np.testing.assert_allclose(again, log_probs, atol=1e-12, err_msg="a step changes the state before it")
            row = rng.integers(len(image))
            losses = m.word_losses(Batch(FEATURES[[image[row]]], np.concatenate([words[row], [4]])[None]))
            assert losses[-1] == pytest.approx(-log_probs[row, 4], abs=1e-11)
        rows = rng.choice(np.flatnonzero(image >= min(t // 12, image.max())), 7)
        state, image, words = take_rows(following, rows), image[rows], words[rows]
        assert state[0].positions.values.shape[2] < 120, "positions of beams that ended are kept"


@every_attention
def test_beam_search_of_width_1_is_greedy_and_scores_are_those_of_teacher_forcing(attention: str) -> None:
    m = transformer(attention)
    inference = m.for_inference()
    best, scores = beam(inference.step, m.start(FEATURES, REGIONS), width=3, **DECODING)
    one, _ = beam(inference.step, m.start(FEATURES, REGIONS), width=1, **DECODING)
    greedy_tokens, _ = greedy(inference.step, m.start(FEATURES, REGIONS), **DECODING)
    np.testing.assert_array_equal(one, greedy_tokens)
    for n, k in np.ndindex(*scores.shape):
        caption = best[n, k][best[n, k] != 0]
        if 0 in best[n, k][: len(caption)]:
            continue  # <NULL> may be a word of an untrained model; its loss is masked
        losses = m.word_losses(Batch(FEATURES[n : n + 1], np.array([[1, *caption]]), REGIONS[n : n + 1]))
        assert -scores[n, k] == pytest.approx(losses.sum(), abs=1e-10)


DROPOUT = Dropout(0.3, 0.3, 0.3, 0.3, layers=0.3)


@pytest.mark.parametrize("size", [2, 3])
def test_threads_change_rounding_only(size: int) -> None:
    m = transformer(dropout=DROPOUT)
    runs = [
        m.loss(Batch(FEATURES, CAPTIONS, REGIONS), np.random.default_rng(1), pool)
        for pool in (ThreadPool(), ThreadPool(size))
    ]
    assert runs[0][0] == pytest.approx(runs[1][0], abs=1e-12)
    assert_grads_equal(runs[1][1], runs[0][1], 1e-12)
    assert m.loss(Batch(FEATURES, CAPTIONS, REGIONS))[0] != runs[0][0]


@pytest.mark.parametrize("size", [1, 3])
def test_captions_of_an_image_attend_as_if_each_had_its_own_regions(size: int) -> None:
    """One image has more captions than a group, and no two features are equal, as with dropout."""
    m, rng = transformer(), np.random.default_rng(0)
    image = np.array([0] * (MAX_CAPTIONS_PER_GROUP + 2) + [2, 3, 2, 2])[rng.permutation(MAX_CAPTIONS_PER_GROUP + 6)]
    captions = rng.integers(3, V, (len(image), 6)) * (np.arange(6) <= rng.integers(0, 6, (len(image), 1)))
    captions[:, 0] = 1
    features, pool = rng.standard_normal((len(image), F)), ThreadPool(size)
    shared = SharedRows(rng.standard_normal((4, L, R)), image)
    separate = SharedRows.separate(shared.values[image])
    loss, grads = m.loss(Batch(features, captions, shared), pool=pool)
    expected, separate_grads = m.loss(Batch(features, captions, separate))
    assert loss == pytest.approx(expected, abs=1e-12)
    assert_grads_equal(grads, separate_grads, 1e-12)
    np.testing.assert_allclose(
        m.attention_weights(Batch(features, captions, shared)),
        m.attention_weights(Batch(features, captions, separate)),
        atol=1e-12,
    )
    log_probs = [m.step(captions[:, 0], m.start(features, regions))[0] for regions in (shared, separate)]
    np.testing.assert_allclose(*log_probs, atol=1e-12)


def test_attention_weights_are_of_the_regions_and_of_the_rest() -> None:
    m = transformer()
    weights = m.attention_weights(Batch(FEATURES, CAPTIONS, REGIONS))
    assert weights.shape == (5, 4, L + 1)
    lengths = [3, 2, 4, 0, 3]
    for row, length in zip(weights, lengths, strict=True):
        np.testing.assert_allclose(row[:length].sum(axis=1), 1, atol=1e-12)
        assert not row[length:].any()
    # an image whose regions are all far from the queries: keys that repel them
    m.params["layer1_cross_W"][:, E : 2 * E] = 0
    uniform = m.attention_weights(Batch(FEATURES, CAPTIONS, REGIONS))[0, 0]
    np.testing.assert_allclose(uniform, [*[1 / (L + 2)] * L, 2 / (L + 2)], atol=1e-12)
    with pytest.raises(DataError, match="expected a model with attention"):
        transformer("none").attention_weights(Batch(FEATURES, CAPTIONS))
    with pytest.raises(DataError, match=r"regions: expected \(images, regions, 3\) .*, got none"):
        m.loss(Batch(FEATURES, CAPTIONS))


def test_an_ensemble_with_a_recurrent_model() -> None:
    members = [transformer(), recurrent("lstm", "every", "adaptive")]
    ensemble = Ensemble(members)
    best, scores = beam(ensemble.for_inference().step, ensemble.start(FEATURES, REGIONS), width=2, **DECODING)
    assert np.isfinite(scores).all()
    captions = np.concatenate([np.ones((5, 1), int), best[:, 0]], axis=1)
    losses = ensemble.word_losses(Batch(FEATURES[:1], captions[:1], REGIONS[:1]))
    assert losses.sum() == pytest.approx(-scores[0, 0], abs=1e-10)
    weights = ensemble.attention_weights(Batch(FEATURES, captions, REGIONS))
    mean = (
        members[0].attention_weights(Batch(FEATURES, captions, REGIONS))
        + members[1].attention_weights(Batch(FEATURES, captions, REGIONS))
    ) / 2
    np.testing.assert_allclose(weights, mean)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_input_gradients_are_those_of_the_embedded_words(kind: str) -> None:
    m = transformer() if kind == "transformer" else recurrent(kind, "first", "adaptive")
    captions = np.array([[1, 4, 5, 6, 2]])  # no word twice, so the rows of W_embed are the inputs
    gradients = m.input_gradients(Batch(FEATURES[:1], captions, REGIONS[:1]))
    assert gradients.shape == (1, 4, m.params["W_embed"].shape[1])

    def last() -> float:
        state = m.start(FEATURES[:1], REGIONS[:1])
        for word in captions[0, :-1]:
            log_probs, state = m.step(np.array([word]), state)
        return -float(log_probs[0, 2])

    numeric = numeric_gradient(last, m.params["W_embed"])
    np.testing.assert_allclose(gradients[0], numeric[captions[0, :-1]], atol=1e-8)


@every_attention
@pytest.mark.parametrize("captions", [[[1, 0], [2, 0], [0, 0]], [[1, 0, 0]] * 3, [[1], [1], [1]]])
@pytest.mark.parametrize("size", [1, 3])
def test_without_targets_loss_and_gradients_are_0(captions: list[list[int]], attention: str, size: int) -> None:
    m = transformer(attention, dtype=np.float32, dropout=DROPOUT)
    batch = Batch(FEATURES[:3].astype(np.float16), np.array(captions, np.uint16), REGIONS[:3])
    loss, grads = m.loss(batch, np.random.default_rng(0), ThreadPool(size))
    assert loss == 0
    assert not any(grad.any() for grad in grads.values())
    assert {grad.dtype for grad in grads.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"hidden": 8, "heads": 3}, "heads: expected a divisor of the width 8, got 3"),
        ({"hidden": 8, "heads": 0}, "heads: expected a divisor of the width 8, got 0"),
        ({"hidden": 8, "activation": "tanh"}, "activation: expected relu or gelu, got 'tanh'"),
    ],
)
def test_wrong_sizes_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError) as caught:
        CaptioningTransformer(Sizes(V, F, 1, decoder="transformer", **options), {})
    assert str(caught.value) == problem


def test_scoring_captions_needs_no_more_memory_for_more_layers() -> None:
    """`word_losses` and `attention_weights` save nothing for a backward pass."""
    rng, peaks = np.random.default_rng(0), []
    features, captions = rng.standard_normal((40, F)), rng.integers(3, V, (40, 12))
    batch = Batch(features, captions, SharedRows(REGIONS.values, rng.integers(0, len(REGIONS.values), 40)))
    for layers in (1, 6):
        sizes = Sizes(
            V, F, 1, 16, "transformer", attention="adaptive", region=R, layers=layers, heads=2, feed_forward=64
        )
        m = CaptioningTransformer(sizes, initial_params(sizes, rng.standard_normal))
        for score in (m.word_losses, m.attention_weights):
            tracemalloc.start()
            score(batch)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert max(peaks[2:]) < 1.5 * min(peaks[:2])
