"""Attention in the model: loss and decoding against a loss computed word by word, and sharing of regions."""

import math
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cells import cell_by_hand

from captioner.arrays import SharedRows
from captioner.decode import Constraints, Ensemble, beam, greedy, sample
from captioner.decode.parallel import parallel_decoder
from captioner.errors import DataError
from captioner.layers import CELLS
from captioner.layers.dropout import NO_DROPOUT, Dropout
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.image_input import Standardizer
from captioner.model.parameters import Sizes
from captioner.parallel.thread_pool import ThreadPool

Array = np.ndarray
V, F, H, R, A, L = 7, 4, 5, 3, 6, 4
CAPTIONS = np.array([[1, 4, 5, 2, 0], [1, 6, 2, 0, 0], [1, 4, 4, 3, 2], [1, 0, 0, 0, 0], [1, 5, 0, 2, 0]])
IMAGE = np.array([2, 0, 2, 1, 0])
RNG = np.random.default_rng(6)
FEATURES = RNG.standard_normal((4, F))[IMAGE]
REGIONS = SharedRows(RNG.standard_normal((4, L, R)), IMAGE)
WORDS: dict[str, Any] = {"start": 1, "end": 2, "null": 0, "max_length": 6, "constraints": Constraints([0, 1])}
every_cell = pytest.mark.parametrize("cell", CELLS)
every_image = pytest.mark.parametrize("image", ["init", "first", "every"])


def model(cell: str = "lstm", image: str = "init", dropout: Dropout = NO_DROPOUT, **sizes: Any) -> CaptioningRNN:
    chosen = Sizes(V, F, 3, H, cell, image, **{"attention": "adaptive", "region": R, "attention_dim": A, **sizes})
    rng = np.random.default_rng(5)
    return CaptioningRNN(
        chosen, {name: 0.7 * rng.standard_normal(shape) for name, shape in chosen.shapes().items()}, dropout=dropout
    )


def by_hand(m: CaptioningRNN) -> tuple[list[float], dict[tuple[int, int], Array]]:
    """The loss of every caption, one word at a time, and the weights of each target word."""
    p, losses, weights = m.params, [], {}
    for n, caption in enumerate(CAPTIONS.tolist()):
        h, c = FEATURES[n] @ p["W_proj"] + p["b_proj"], np.zeros(H)
        keys = np.maximum(0, REGIONS.values[IMAGE[n]] @ p["W_key"] + p["b_key"])
        vector = FEATURES[n] @ p["W_image"] + p["b_image"] if m.sizes.image != "init" else np.zeros(0)
        if m.sizes.image == "first":
            h, c = cell_by_hand(m.sizes.cell, p, vector, h, c)
        extra, loss = vector if m.sizes.image == "every" else np.zeros(0), 0.0
        for t, (word, target) in enumerate(pairwise(caption)):
            h, c = cell_by_hand(m.sizes.cell, p, np.concatenate([p["W_embed"][word], extra]), h, c)
            slots = np.vstack([keys, np.tanh(h @ p["W_sentinel"] + p["b_sentinel"])])
            α = np.exp(slots @ (h @ p["W_query"]) / math.sqrt(A))
            weights[n, t] = α / α.sum()
            scores = (h + weights[n, t] @ slots @ p["W_context"]) @ p["W_vocab"] + p["b_vocab"]
            loss -= (scores[target] - math.log(math.fsum(np.exp(scores)))) if target else 0
        losses.append(float(loss))
    return losses, weights


@every_cell
@every_image
@pytest.mark.parametrize("threads", [1, 2])
def test_the_loss_matches_the_reference(cell: str, image: str, threads: int) -> None:
    m, pool = model(cell, image), ThreadPool(threads)
    loss, grads = m.loss(FEATURES, CAPTIONS, regions=REGIONS, pool=pool)
    losses, _ = by_hand(m)
    assert loss == pytest.approx(math.fsum(losses) / len(CAPTIONS), abs=1e-12)
    assert {name: grad.shape for name, grad in grads.items()} == m.sizes.shapes()
    for name, grad in m.loss(FEATURES, CAPTIONS, regions=REGIONS)[1].items():
        np.testing.assert_allclose(grads[name], grad, atol=1e-13)
    words = m.word_losses(FEATURES, CAPTIONS, pool, REGIONS)
    assert words.sum() == pytest.approx(math.fsum(losses), abs=1e-12)


@every_cell
@every_image
def test_inference_steps_match_the_loss(cell: str, image: str) -> None:
    m = model(cell, image)
    state, total, inference = m.start(FEATURES, REGIONS), 0.0, m.for_inference()
    for t in range(CAPTIONS.shape[1] - 1):
        log_probs, state = inference.step(CAPTIONS[:, t], state)
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1)
        total -= sum(log_probs[n, word] for n, word in enumerate(CAPTIONS[:, t + 1]) if word)
    assert total / len(CAPTIONS) == pytest.approx(m.loss(FEATURES, CAPTIONS, regions=REGIONS)[0], abs=1e-12)


def test_attention_weights_are_those_of_each_target_word() -> None:
    m = model()
    weights = m.attention_weights(FEATURES, CAPTIONS, REGIONS, ThreadPool(2))
    assert weights.shape == (len(CAPTIONS), CAPTIONS.shape[1] - 1, L + 1)
    expected = by_hand(m)[1]
    for n, caption in enumerate(CAPTIONS):
        length = max(np.flatnonzero(caption[1:]), default=-1) + 1
        for t in range(length):
            np.testing.assert_allclose(weights[n, t], expected[n, t], atol=1e-13)
        assert (weights[n, length:] == 0).all()


def test_captions_of_an_image_share_its_regions() -> None:
    """The loss and the gradients are those of regions that are repeated for each caption."""
    m, separate = model(), SharedRows.separate(REGIONS.values[IMAGE])
    loss, grads = m.loss(FEATURES, CAPTIONS, regions=REGIONS)
    repeated, repeated_grads = m.loss(FEATURES, CAPTIONS, regions=separate)
    assert loss == pytest.approx(repeated, abs=1e-13)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, repeated_grads[name], atol=1e-13)


def test_keys_are_computed_once_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    from captioner.layers.attention import keys_forward

    counts = []
    monkeypatch.setattr(
        "captioner.model.attention.keys_forward", lambda a, *rest: counts.append(len(a)) or keys_forward(a, *rest)
    )
    m = model()
    m.loss(FEATURES, CAPTIONS, regions=REGIONS)
    beam(m.for_inference().step, m.start(FEATURES, REGIONS), width=3, **WORDS)
    assert counts == [4, 4]


def test_regions_are_standardized() -> None:
    mean, std = np.array([1.0, -2, 30]), np.array([0.5, 2, 10])
    plain = model()
    m = CaptioningRNN(plain.sizes, plain.params, region_standardizer=Standardizer(mean, std))
    given_regions = SharedRows(REGIONS.values * std + mean, IMAGE)
    loss, grads = m.with_params(m.params).loss(FEATURES, CAPTIONS, regions=given_regions)
    expected, grads_expected = plain.loss(FEATURES, CAPTIONS, regions=REGIONS)
    assert loss == pytest.approx(expected, abs=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, grads_expected[name], atol=1e-12)
    np.testing.assert_allclose(
        m.start(FEATURES, given_regions)[-1].values, plain.start(FEATURES, REGIONS)[-1].values, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["regions", "keys"])
def test_dropout_draws_noise_from_the_generator(kind: str) -> None:
    m, plain = model(dropout=Dropout(**{kind: 0.5})), model()

    def losses(one: CaptioningRNN, *seeds: int) -> list[float]:
        return [one.loss(FEATURES, CAPTIONS, np.random.default_rng(seed), regions=REGIONS)[0] for seed in seeds]

    assert len(set(losses(m, *range(20)))) > 10
    assert losses(m, 1) == losses(m, 1)
    assert m.loss(FEATURES, CAPTIONS, regions=REGIONS)[0] == losses(plain, 1)[0]
    np.testing.assert_array_equal(m.start(FEATURES, REGIONS)[-1].values, plain.start(FEATURES, REGIONS)[-1].values)


def test_dropout_does_not_depend_on_the_number_of_threads() -> None:
    m = model(image="every", dropout=Dropout(0.3, 0.3, 0.3, 0.3, 0.3))
    grads = [
        m.loss(FEATURES, CAPTIONS, np.random.default_rng(1), ThreadPool(size), regions=REGIONS)[1] for size in (1, 2, 3)
    ]
    for name, grad in grads[0].items():
        for other in grads[1:]:
            np.testing.assert_allclose(other[name], grad, atol=1e-12, err_msg=name)


DECODERS = {
    "greedy": greedy,
    "beam": partial(beam, width=3),
    "sample": lambda step, state, *images, **words: sample(step, state, *images, samples=2, **words),
}


@every_cell
@pytest.mark.parametrize("name", DECODERS)
def test_captions_of_a_batch_are_those_of_single_images(name: str, cell: str) -> None:
    """Also with several threads, and with images that finish early and leave the batch."""
    m, decode = model(cell, "every"), partial(DECODERS[name], **WORDS)
    images = np.arange(len(CAPTIONS))
    more = (images,) if name == "sample" else ()
    tokens, scores = parallel_decoder(m, ThreadPool(2))(decode, FEATURES, *more, regions=REGIONS)
    for n in images:
        one = decode(
            m.for_inference().step, m.start(FEATURES[[n]], REGIONS[images[[n]]]), *(rows[[n]] for rows in more)
        )
        np.testing.assert_array_equal(tokens[n], one[0][0])
        np.testing.assert_allclose(scores[n], one[1][0], atol=1e-12)
        for k, caption in enumerate(tokens[n]):
            if np.isfinite(scores[n, k]):
                read = np.array([[1, *caption]])
                losses = m.word_losses(FEATURES[[n]], read, regions=REGIONS[images[[n]]])
                assert scores[n, k] == pytest.approx(-losses.sum(), abs=1e-12)


def test_an_ensemble_may_mix_models_with_and_without_attention() -> None:
    members = [model(), model("gru", attention="none")]
    ensemble = Ensemble(members)
    tokens, scores = beam(ensemble.for_inference().step, ensemble.start(FEATURES, REGIONS), width=2, **WORDS)
    for n, caption in enumerate(tokens[:, 0]):
        losses = ensemble.word_losses(FEATURES[[n]], np.array([[1, *caption]]), regions=REGIONS[np.array([n])])
        assert scores[n, 0] == pytest.approx(-losses.sum(), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given_type", [np.float16, np.float32, np.float64])
def test_results_have_the_dtype_of_the_parameters(dtype: type, given_type: type) -> None:
    exact = model()
    m = exact.with_params({name: w.astype(dtype) for name, w in exact.params.items()})
    regions = SharedRows(REGIONS.values.astype(given_type), IMAGE)
    loss, grads = m.loss(FEATURES, CAPTIONS, regions=regions)
    assert {grad.dtype for grad in grads.values()} == {np.dtype(dtype)}
    assert m.attention_weights(FEATURES, CAPTIONS, regions).dtype == dtype
    log_probs, state = m.step(CAPTIONS[:, 0], m.start(FEATURES, regions))
    assert {log_probs.dtype, state[0].dtype, state[-1].values.dtype} == {np.dtype(dtype)}
    assert loss == pytest.approx(exact.loss(FEATURES, CAPTIONS, regions=regions)[0], rel=1e-5)


def test_missing_and_unexpected_regions() -> None:
    m, narrow = model(), SharedRows.separate(np.zeros((5, L, R - 1)))
    expected = rf"regions: expected \(images, regions, {R}\) for model.attention adaptive, got "
    for call in (m.loss, m.word_losses, lambda features, captions, regions=None: m.start(features, regions)):
        with pytest.raises(DataError, match=expected + "none"):
            call(FEATURES, CAPTIONS)
        with pytest.raises(DataError, match=expected + rf"\(5, {L}, {R - 1}\)"):
            call(FEATURES, CAPTIONS, regions=narrow)
    without = model(attention="none")
    assert without.loss(FEATURES, CAPTIONS, regions=narrow)[0] == without.loss(FEATURES, CAPTIONS)[0]
    with pytest.raises(DataError, match=r"expected a model with attention, got one with model\.attention none"):
        without.attention_weights(FEATURES, CAPTIONS, REGIONS)
