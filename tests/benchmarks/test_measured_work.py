"""The captions and the products that are timed are those of COCO and of a training step."""

from dataclasses import replace

import numpy as np
import pytest
from contenders import FLOAT32, SHAPE

from benchmarks import decoding, shapes, steps
from benchmarks.ours import Floor
from benchmarks.session import Session
from captioner.layers.dropout import Dropout


@pytest.mark.parametrize("cell", shapes.CELLS)
def test_decoded_captions_have_the_lengths_of_coco(cell: str) -> None:
    shape = shapes.Shape(cell, 200, 300, 64, 64, 128)
    images = shapes.batch(shape).features
    tokens, _ = decoding.decoders(shape, decoding.caption_parameters(shape, images))["ours"](images)
    lengths = (tokens != shapes.NULL).sum(axis=2)
    assert lengths.mean() == pytest.approx(decoding.MEAN, abs=0.5)
    assert 1 < lengths.std() < 4
    assert len(np.unique(tokens, axis=0)) > 100


def test_training_captions_have_the_lengths_of_coco() -> None:
    batch = shapes.batch(shapes.COCO[3])
    lengths = (batch.captions != shapes.NULL).sum(axis=1)
    assert batch.captions.shape == (256, 17)
    assert batch.words == (lengths - 1).sum()
    assert pytest.approx(batch.words / 256, abs=0.3) == 11.5
    assert (batch.captions[:, 0] == shapes.START).all()
    assert (batch.captions[np.arange(256), lengths - 1] == shapes.END).all()


@pytest.mark.parametrize("contender", [name for name in FLOAT32 if name != "loops"])
def test_dropout_is_applied_in_the_step_but_not_in_the_gradient_check(contender: str) -> None:
    shape = replace(SHAPE, dropout=Dropout(0.2, 0.5, 0.5))
    learner = steps.learners(Session.has_torch)[contender](shape, shapes.parameters(shape), shapes.batch(shape))
    whole = learner.gradients()[0]
    assert learner.gradients()[0] == whole
    assert learner.step() != pytest.approx(whole, rel=1e-5)


def test_the_gemm_floor_computes_the_products_of_a_step_and_stays_finite() -> None:
    shape = SHAPE
    params, batch = shapes.parameters(shape), shapes.batch(shape)
    floor = Floor(shape, params, batch)
    assert len(floor.h) == batch.words
    assert len(floor.x) < batch.words, "distinct words"
    results = []
    for _ in range(2):
        floor.step()
        results.append({name: array.copy() for name, array in floor.out.items()})
    for name, array in results[0].items():
        np.testing.assert_array_equal(array, results[1][name])
        assert np.isfinite(array).all()
    np.testing.assert_allclose(results[0]["ah"], floor.h @ params["Wh"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(results[0]["dh_prev"], floor.da @ params["Wh"].T, rtol=1e-4, atol=1e-5)
    shapes_out = {name.removeprefix("d"): a.shape for name, a in results[0].items() if name.startswith("dW")}
    assert shapes_out == {name: params[name].shape for name in ("W_proj", "Wx", "Wh", "W_vocab")}
