"""Attention in the model: its weights, sharing of regions, and decoding with it."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from captioning_models import (
    CAPTIONS,
    FEATURES,
    IMAGE,
    REGIONS,
    L,
    R,
    assert_grads_equal,
    by_hand,
    every_cell,
)
from captioning_models import model as any_model

from captioner.arrays import Batch, SharedRows
from captioner.decode import Constraints, beam, greedy, parallel_decoding, sample
from captioner.errors import DataError
from captioner.model.captioning_rnn import CaptioningRNN
from captioner.model.ensemble import Ensemble
from captioner.model.image_input import Standardizer
from captioner.parallel.thread_pool import ThreadPool

WORDS: dict[str, Any] = {"start": 1, "end": 2, "null": 0, "max_length": 6, "constraints": Constraints([0, 1])}
model = partial(any_model, attention="adaptive")


def test_attention_weights_are_those_of_each_target_word() -> None:
    m = model()
    weights = m.attention_weights(Batch(FEATURES, CAPTIONS, REGIONS), ThreadPool(2))
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
    loss, grads = m.loss(Batch(FEATURES, CAPTIONS, REGIONS))
    repeated, repeated_grads = m.loss(Batch(FEATURES, CAPTIONS, separate))
    assert loss == pytest.approx(repeated, abs=1e-13)
    assert_grads_equal(grads, repeated_grads)


def test_keys_are_computed_once_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    from captioner.layers.attention import keys_forward

    counts = []
    monkeypatch.setattr(
        "captioner.model.captioning_rnn.keys_forward",
        lambda a, *rest: counts.append(len(a)) or keys_forward(a, *rest),
    )
    m = model()
    m.loss(Batch(FEATURES, CAPTIONS, REGIONS))
    beam(m.for_inference().step, m.start(FEATURES, REGIONS), width=3, **WORDS)
    assert counts == [4, 4]


def test_regions_are_standardized() -> None:
    mean, std = np.array([1.0, -2, 30]), np.array([0.5, 2, 10])
    plain = model()
    m = CaptioningRNN(plain.sizes, plain.params, region_standardizer=Standardizer(mean, std))
    unscaled = SharedRows(REGIONS.values * std + mean, IMAGE)
    loss, grads = m.with_params(m.params).loss(Batch(FEATURES, CAPTIONS, unscaled))
    expected, grads_expected = plain.loss(Batch(FEATURES, CAPTIONS, REGIONS))
    assert loss == pytest.approx(expected, abs=1e-12)
    assert_grads_equal(grads, grads_expected, 1e-12)
    np.testing.assert_allclose(
        m.start(FEATURES, unscaled)[-1].values, plain.start(FEATURES, REGIONS)[-1].values, atol=1e-12
    )


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
    tokens, scores = parallel_decoding(m, ThreadPool(2))(decode, FEATURES, *more, regions=REGIONS)
    for n in images:
        state = m.start(FEATURES[[n]], REGIONS[images[[n]]])
        alone, scores_alone = decode(m.for_inference().step, state, *(rows[[n]] for rows in more))
        np.testing.assert_array_equal(tokens[n], alone[0])
        np.testing.assert_allclose(scores[n], scores_alone[0], atol=1e-12)
        for k, caption in enumerate(tokens[n]):
            if np.isfinite(scores[n, k]):
                read = np.array([[1, *caption]])
                losses = m.word_losses(Batch(FEATURES[[n]], read, REGIONS[images[[n]]]))
                assert scores[n, k] == pytest.approx(-losses.sum(), abs=1e-12)


def test_an_ensemble_may_mix_models_with_and_without_attention() -> None:
    members = [model(), any_model("gru")]
    ensemble = Ensemble(members)
    tokens, scores = beam(ensemble.for_inference().step, ensemble.start(FEATURES, REGIONS), width=2, **WORDS)
    for n, caption in enumerate(tokens[:, 0]):
        losses = ensemble.word_losses(Batch(FEATURES[[n]], np.array([[1, *caption]]), REGIONS[np.array([n])]))
        assert scores[n, 0] == pytest.approx(-losses.sum(), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("input_type", [np.float16, np.float32, np.float64])
def test_results_have_the_dtype_of_the_parameters(dtype: type, input_type: type) -> None:
    exact = model()
    m = exact.with_params({name: w.astype(dtype) for name, w in exact.params.items()})
    regions = SharedRows(REGIONS.values.astype(input_type), IMAGE)
    loss, grads = m.loss(Batch(FEATURES, CAPTIONS, regions))
    assert {grad.dtype for grad in grads.values()} == {np.dtype(dtype)}
    assert m.attention_weights(Batch(FEATURES, CAPTIONS, regions)).dtype == dtype
    log_probs, state = m.step(CAPTIONS[:, 0], m.start(FEATURES, regions))
    assert {log_probs.dtype, state[0].dtype, state[-1].values.dtype} == {np.dtype(dtype)}
    assert loss == pytest.approx(exact.loss(Batch(FEATURES, CAPTIONS, regions))[0], rel=1e-5)


def test_missing_and_unexpected_regions() -> None:
    m, narrow = model(), SharedRows.separate(np.zeros((5, L, R - 1)))
    expected = rf"regions: expected \(images, regions, {R}\) for model.attention adaptive, got "
    for call in (m.loss, m.word_losses, lambda batch: m.start(batch.features, batch.regions)):
        with pytest.raises(DataError, match=expected + "none"):
            call(Batch(FEATURES, CAPTIONS))
        with pytest.raises(DataError, match=expected + rf"\(5, {L}, {R - 1}\)"):
            call(Batch(FEATURES, CAPTIONS, narrow))
    without = any_model()
    assert without.loss(Batch(FEATURES, CAPTIONS, narrow))[0] == without.loss(Batch(FEATURES, CAPTIONS))[0]
    with pytest.raises(DataError, match=r"expected a model with attention, got one with model\.attention none"):
        without.attention_weights(Batch(FEATURES, CAPTIONS, REGIONS))
